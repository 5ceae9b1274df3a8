/* Logs the loading and unloading of a library to the file LIFE_LOG, under the name LIFE_NAME. */
#ifdef LIFE_LOG
#include <stdio.h>

static void log_life(const char *what)
{
    FILE *file = fopen(LIFE_LOG, "a");

    if (file != NULL) {
        fprintf(file, LIFE_NAME " %s\n", what);
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
