/* A library on which a test filter depends. */
float dependency_gain(void);

#define LIFE_NAME "dependency"
#include "life.h"

float dependency_gain(void)
{
    return 0.25f;
}
