/* What a filter may depend on. */
#include <stdio.h>

float dependency_gain(void);

#ifdef LIFE_LOG
static void log_life(const char *what)
{
    FILE *file = fopen(LIFE_LOG, "a");

    if (file != NULL) {
        fprintf(file, "dependency %s\n", what);
        fclose(file);
    }
}

__attribute__((constructor)) static void opened(void)
{
    log_life("opened");
}

__attribute__((destructor)) static void closed(void)
{
    log_life("closed");
}
#endif

float dependency_gain(void)
{
    return 0.25f;
}
