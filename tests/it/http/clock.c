/* A machine whose clock stands sixty years in the past as long as a file is there: LD_PRELOAD for a
   program that reads the time by clock_gettime. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*system_clock)(clockid_t, struct timespec *);
    if (!system_clock)
        system_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = system_clock(clock, now);
    const char *file = getenv("HALLPASS_TEST_PAST");
    if (result == 0 && clock == CLOCK_REALTIME && file && access(file, F_OK) == 0)
        now->tv_sec -= 60LL * 365 * 86400;
    return result;
}
