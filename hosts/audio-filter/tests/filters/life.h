/* Says when a library comes and goes, in the file that LIFE_LOG names. LIFE_NAME is the library's. */
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
