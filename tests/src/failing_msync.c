// Loaded in front of the C library (LD_PRELOAD): msync fails once whenever the file exists that
// HOTFIRE_FAIL_MSYNC names. The file is removed by the call that fails.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int msync(void *addr, size_t len, int flags) {
    const char *armed = getenv("HOTFIRE_FAIL_MSYNC");
    if (armed != NULL && unlink(armed) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_msync, addr, len, flags);
}
