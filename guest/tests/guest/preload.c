/*
 * A kernel with configfs-tsm and /dev/sev-guest, as far as keybroker-guest calls it. Loaded before the C
 * library into the program under test. The environment says what the kernel does:
 *
 *   FAKE_TSM       a directory that stands for /sys/kernel/config/tsm/report
 *   FAKE_REPORT    a file with a report, into which REPORT_DATA and the VMPL are written
 *   FAKE_TABLE     a file with the host's certificate table
 *   FAKE_FAIL      the error: see the names below
 *   FAKE_SEV       there is a /dev/sev-guest
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sev-guest.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TSM "/sys/kernel/config/tsm/report"
#define DEVICE "/dev/sev-guest"
#define REPORT 1184

static int device = -1;
static char written[1024][512]; /* the directory of a file that counts as a write when it is closed */
static int broken[1024];        /* the error of the next read */

static int failing(const char *name) {
    const char *fail = getenv("FAKE_FAIL");
    return fail && strcmp(fail, name) == 0;
}

static const char *moved(const char *path, char *room, size_t size) {
    const char *tsm = getenv("FAKE_TSM");
    if (!path) return path; /* Rust asks so whether the kernel has statx */
    if (tsm && strncmp(path, TSM, strlen(TSM)) == 0) {
        snprintf(room, size, "%s%s", tsm, path + strlen(TSM));
        return room;
    }
    if (getenv("FAKE_SEV") && strcmp(path, DEVICE) == 0) return "/dev/null";
    return path;
}

static size_t load(const char *path, unsigned char *bytes, size_t size) {
    FILE *file = path ? fopen(path, "r") : NULL;
    size_t length = file ? fread(bytes, 1, size, file) : 0;
    if (file) fclose(file);
    return length;
}

static void store(const char *directory, const char *name, const void *bytes, size_t length) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    if (!file) abort();
    fwrite(bytes, 1, length, file);
    fclose(file);
}

int statx(int at, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
    char room[512];
    int (*real)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_NEXT, "statx");
    return real(at, moved(path, room, sizeof room), flags, mask, out);
}

int mkdir(const char *path, mode_t mode) {
    char room[512];
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
    const char *to = moved(path, room, sizeof room);
    if (to != path && failing("mkdir-enxio")) return errno = ENXIO, -1;
    int made = real(to, mode);
    if (made == 0 && to != path) {
        const char *provider = failing("provider") ? "tdx_guest\n" : "sev_guest\n";
        store(to, "provider", provider, strlen(provider));
        store(to, "generation", "0\n", 2);
        const char *empty[] = {"inblob", "privlevel", "outblob", "auxblob"};
        for (int i = 0; i < 4; i++) store(to, empty[i], "", 0);
    }
    return made;
}

int rmdir(const char *path) {
    char room[512], file[600];
    int (*real)(const char *) = dlsym(RTLD_NEXT, "rmdir");
    const char *to = moved(path, room, sizeof room);
    if (to != path) {
        const char *all[] = {"provider", "generation", "inblob", "privlevel", "outblob", "auxblob"};
        for (int i = 0; i < 6; i++) {
            snprintf(file, sizeof file, "%s/%s", to, all[i]);
            unlink(file);
        }
    }
    return real(to);
}

/* The driver at work: the report is made when it is read for the first time. */
static void attest(const char *directory) {
    unsigned char report[REPORT] = {0}, table[65536];
    char path[600];
    load(getenv("FAKE_REPORT"), report, sizeof report);
    snprintf(path, sizeof path, "%s/inblob", directory);
    load(path, report + 0x50, 64);
    snprintf(path, sizeof path, "%s/privlevel", directory);
    unsigned char level[16] = {0};
    load(path, level, sizeof level - 1);
    report[0x30] = (unsigned char)atoi((char *)level);
    store(directory, "outblob", report, sizeof report);
    store(directory, "auxblob", table, load(getenv("FAKE_TABLE"), table, sizeof table));
}

int open64(const char *path, int flags, ...) {
    char room[512];
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    const char *to = moved(path, room, sizeof room);
    char *name = to == room ? strrchr(room, '/') : NULL;
    char directory[512] = "";
    if (name) {
        snprintf(directory, sizeof directory, "%.*s", (int)(name - room), room);
        name++;
        if (strcmp(name, "outblob") == 0) attest(directory);
    }
    int fd = real(to, flags, mode);
    if (fd < 0 || fd >= 1024) return fd;
    if (strcmp(path, DEVICE) == 0) device = fd;
    written[fd][0] = 0, broken[fd] = 0;
    if (name && (flags & O_ACCMODE) != O_RDONLY) {
        snprintf(written[fd], sizeof written[fd], "%s", directory);
        if (strcmp(name, "inblob") == 0 && failing("inblob-lost")) written[fd][0] = 0;
    } else if (name && strcmp(name, "outblob") == 0) {
        broken[fd] = failing("outblob-enotty") ? ENOTTY
                     : failing("outblob-einval") ? EINVAL
                     : failing("outblob-ebusy")  ? EBUSY
                     : failing("outblob-eio")    ? EIO
                                                 : 0;
    }
    return fd;
}

ssize_t read(int fd, void *bytes, size_t size) {
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    if (fd >= 0 && fd < 1024 && broken[fd]) return errno = broken[fd], -1;
    return real(fd, bytes, size);
}

int close(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    char directory[512] = "";
    if (fd >= 0 && fd < 1024) {
        memcpy(directory, written[fd], sizeof directory);
        written[fd][0] = 0;
    }
    int closed = real(fd);
    if (directory[0]) {
        char path[600], text[32] = "";
        snprintf(path, sizeof path, "%s/generation", directory);
        load(path, (unsigned char *)text, sizeof text - 1);
        int length = snprintf(text, sizeof text, "%d\n", atoi(text) + 1);
        store(directory, "generation", text, (size_t)length);
    }
    return closed;
}

/* The file that counts the attempts of one test, across processes. */
static int attempts(void) {
    char text[16] = "";
    load(getenv("FAKE_COUNT"), (unsigned char *)text, sizeof text - 1);
    int count = atoi(text) + 1;
    FILE *file = fopen(getenv("FAKE_COUNT"), "w");
    if (!file) abort();
    fprintf(file, "%d", count);
    fclose(file);
    return count;
}

static int fail(struct snp_guest_request_ioctl *request, uint64_t exitinfo2, int error) {
    request->exitinfo2 = exitinfo2;
    errno = error;
    return -1;
}

int ioctl(int fd, unsigned long number, ...) {
    va_list arguments;
    va_start(arguments, number);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    if (fd != device || fd < 0) return real(fd, number, argument);

    struct snp_guest_request_ioctl *request = argument;
    struct snp_ext_report_req *ask = (void *)request->req_data;
    unsigned char *response = (void *)request->resp_data;
    if (_IOC_NR(number) != 2) return fail(request, 0, EINVAL);
    if (failing("enotty")) return fail(request, 0xFF, ENOTTY);
    if (failing("enotty-new")) return fail(request, 0xFFFFFFFF, ENOTTY);
    if (failing("enotty-old")) return fail(request, 0, ENOTTY);
    if (failing("svsm-firmware")) return fail(request, 0x16, EIO);
    if (failing("firmware")) return fail(request, 0x05, EIO);
    if (failing("host")) return fail(request, 9ULL << 32, EIO);
    if (failing("busy")) return fail(request, 2ULL << 32, EIO);
    if (failing("busy-once") && attempts() == 1) return fail(request, 2ULL << 32, EAGAIN);

    unsigned char table[65536];
    size_t length = load(getenv("FAKE_TABLE"), table, sizeof table);
    size_t pages = (length + 4095) / 4096 * 4096;
    if (ask->certs_len < pages) {
        ask->certs_len = (uint32_t)pages;
        return fail(request, 1ULL << 32, EIO);
    }
    if (length > 0) memcpy((void *)ask->certs_address, table, length);
    uint32_t status = failing("svsm-status") ? 0x16 : 0, size = REPORT;
    memset(response, 0, 4000);
    memcpy(response, &status, 4);
    memcpy(response + 4, &size, 4);
    load(getenv("FAKE_REPORT"), response + 32, REPORT);
    memcpy(response + 32 + 0x50, ask->data.user_data, 64);
    memcpy(response + 32 + 0x30, &ask->data.vmpl, 4);
    return 0;
}
