/* Preloaded into the services by the kill-point tests: names every call that leaves a trace outside the process (on
 * disk, in a cgroup, on a socket, a new process) as a step, and lists the steps or dies by SIGKILL at one of them.
 *
 * What to do is read from the file named by ORCH_STEPS before each such call, so that a running process is armed by
 * writing that file; without it this library only looks. Its one line is one of
 *     list ID PROGRAM
 *     kill ID PROGRAM before|torn|after NTH STEP
 * where PROGRAM is the last part of argv[0] and STEP is "CALL OBJECT". Listed steps are appended to ORCH_STEPS.listed
 * as "PID STEP". Of a step to die at, each process counts its own, anew for a new ID; who dies makes the orders
 * ORCH_STEPS.landed first, so that they kill once. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { UUID_LENGTH = 36, SERVICE_PORT_MAX = 32767, STEP_MAX = 160, ORDER_MAX = 400 };
enum moment { NEVER, BEFORE, TORN, AFTER };

static char program[64];
static const char *orders_path;
static int turn; /* one thread at a time counts */
static long counted_id = -1, count;

static struct {
  int (*fsync)(int);
  int (*fdatasync)(int);
  ssize_t (*write)(int, const void *, size_t);
  ssize_t (*writev)(int, const struct iovec *, int);
  ssize_t (*pwrite64)(int, const void *, size_t, off64_t);
  ssize_t (*send)(int, const void *, size_t, int);
  ssize_t (*sendmsg)(int, const struct msghdr *, int);
  int (*open)(const char *, int, ...);
  int (*openat)(int, const char *, int, ...);
  int (*rename)(const char *, const char *);
  int (*unlink)(const char *);
  int (*unlinkat)(int, const char *, int);
  int (*mkdir)(const char *, mode_t);
  int (*rmdir)(const char *);
  int (*ftruncate64)(int, off64_t);
  int (*bind)(int, const struct sockaddr *, socklen_t);
  int (*posix_spawnp)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                      char *const[], char *const[]);
  int (*execvp)(const char *, char *const[]);
} real;

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

__attribute__((constructor)) static void begin(int argc, char **argv) {
  snprintf(program, sizeof program, "%s", argc > 0 ? last_part(argv[0]) : "");
  orders_path = getenv("ORCH_STEPS");
  /* 64-bit offsets are the only ones on the hosts that Orch runs on, so open is open64. */
#define FIND(name) real.name = (__typeof__(real.name))dlsym(RTLD_NEXT, #name)
  FIND(fsync), FIND(fdatasync), FIND(write), FIND(writev), FIND(pwrite64), FIND(send), FIND(sendmsg);
  FIND(open), FIND(openat), FIND(rename), FIND(unlink), FIND(unlinkat), FIND(mkdir), FIND(rmdir);
  FIND(ftruncate64), FIND(bind), FIND(posix_spawnp), FIND(execvp);
#undef FIND
}

/* ---- what a call is about --------------------------------------------------------------------------- */

static int is_uuid(const char *text) {
  for (int at = 0; at < UUID_LENGTH; at++) {
    int dash = at == 8 || at == 13 || at == 18 || at == 23;
    if (dash ? text[at] != '-' : !strchr("0123456789abcdef", text[at]) || !text[at]) return 0;
  }
  return 1;
}

/* The last part of a path, with a run's id replaced by RUN; false for what leaves no trace. */
static int name_path(char *name, size_t room, const char *path) {
  if (!strncmp(path, "/proc/", 6) && !strstr(path, "shim.sock")) return 0;
  if (!strncmp(path, "/dev/", 5)) return 0;
  const char *part = last_part(path);
  const char *kind = strncmp(path, "/sys/fs/cgroup", 14) ? "" : "cgroup:";
  if (strlen(part) >= UUID_LENGTH && is_uuid(part))
    snprintf(name, room, "%sRUN%s", kind, part + UUID_LENGTH);
  else
    snprintf(name, room, "%s%s", kind, part);
  return 1;
}

static int name_socket(char *name, size_t room, int fd) {
  union {
    struct sockaddr any;
    struct sockaddr_in inet;
    struct sockaddr_un local;
  } own, peer;
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  if (getsockname(fd, &own.any, &own_size) || getpeername(fd, &peer.any, &peer_size)) return 0;
  if (own.any.sa_family == AF_UNIX) {
    /* A pair without a name stays inside the process. */
    if (own_size <= sizeof(sa_family_t) && peer_size <= sizeof(sa_family_t)) return 0;
    snprintf(name, room, "shim.sock");
    return 1;
  }
  if (own.any.sa_family != AF_INET) return 0;
  int here = ntohs(own.inet.sin_port), there = ntohs(peer.inet.sin_port);
  snprintf(name, room, here <= SERVICE_PORT_MAX ? "on:%d" : "to:%d", here <= SERVICE_PORT_MAX ? here : there);
  return 1;
}

static int name_fd(char *name, size_t room, int fd) {
  struct stat about;
  if (fd <= STDERR_FILENO || fstat(fd, &about)) return 0;
  if (S_ISSOCK(about.st_mode)) return name_socket(name, room, fd);
  if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) return 0;
  char link[40], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return name_path(name, room, path);
}

/* ---- what to do about it ----------------------------------------------------------------------------- */

static void list(const char *step) {
  char path[PATH_MAX], line[STEP_MAX + 16];
  snprintf(path, sizeof path, "%s.listed", orders_path);
  snprintf(line, sizeof line, "%d %s\n", getpid(), step);
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  syscall(SYS_write, fd, line, strlen(line));
  syscall(SYS_close, fd);
}

/* Taking the orders away is what decides: of all who are to die, and whoever withdraws them, one can. */
static void die(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s.landed", orders_path);
  if (real.rename(orders_path, path)) return;
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/* Reads the orders; when they are about this step and its turn has come, tells when to die. */
static enum moment order(const char *step) {
  char text[ORDER_MAX], verb[8], whose[64], when[8];
  if (!orders_path) return NEVER;
  long fd = syscall(SYS_openat, AT_FDCWD, orders_path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return NEVER;
  long length = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (length <= 0) return NEVER;
  text[length] = 0;
  text[strcspn(text, "\n")] = 0;
  long id = 0, nth = 0;
  int wanted = 0;
  if (sscanf(text, "%7s %ld %63s %7s %ld %n", verb, &id, whose, when, &nth, &wanted) < 3) return NEVER;
  if (strcmp(whose, program)) return NEVER;
  if (!strcmp(verb, "list")) {
    list(step);
    return NEVER;
  }
  if (!wanted || strcmp(text + wanted, step)) return NEVER;
  while (__atomic_exchange_n(&turn, 1, __ATOMIC_ACQUIRE)) {
  }
  if (id != counted_id) counted_id = id, count = 0;
  int now = ++count == nth;
  __atomic_store_n(&turn, 0, __ATOMIC_RELEASE);
  if (!now) return NEVER;
  return when[0] == 'b' ? BEFORE : when[0] == 't' ? TORN : AFTER;
}

/* Begins a step; none when NAMED is false. */
static enum moment step_begins(char *step, const char *call, int named, const char *name) {
  int error = errno;
  enum moment moment = NEVER;
  if (named) {
    snprintf(step, STEP_MAX, "%s %s", call, name);
    moment = order(step);
    if (moment == BEFORE) die();
  }
  errno = error;
  return moment;
}

static void step_ends(enum moment moment) {
  int error = errno;
  if (moment == AFTER || moment == TORN) die();
  errno = error;
}

/* ---- the calls ------------------------------------------------------------------------------------------ */

#define STEP(result_type, call, named, real_call)                                          \
  char name[STEP_MAX / 2], step[STEP_MAX];                                                 \
  int known = named(name, sizeof name);                                                    \
  enum moment moment = step_begins(step, call, known, name);                               \
  result_type result = real_call;                                                          \
  step_ends(moment);                                                                 \
  return result

#define OF_FD(name, room) name_fd(name, room, fd)
#define OF_PATH(name, room) name_path(name, room, path)
/* What is left of LENGTH in a torn step: a part of it. */
#define PART(length) (moment == TORN ? ((length) + 1) / 2 : (length))

int fsync(int fd) { STEP(int, "fsync", OF_FD, real.fsync(fd)); }
int fdatasync(int fd) { STEP(int, "fdatasync", OF_FD, real.fdatasync(fd)); }
int ftruncate64(int fd, off64_t length) { STEP(int, "ftruncate", OF_FD, real.ftruncate64(fd, length)); }
ssize_t write(int fd, const void *bytes, size_t length) {
  STEP(ssize_t, "write", OF_FD, real.write(fd, bytes, PART(length)));
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  STEP(ssize_t, "pwrite", OF_FD, real.pwrite64(fd, bytes, PART(length), at));
}
ssize_t send(int fd, const void *bytes, size_t length, int flags) {
  STEP(ssize_t, "send", OF_FD, real.send(fd, bytes, PART(length), flags));
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  STEP(ssize_t, "send", OF_FD, real.sendmsg(fd, message, flags));
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  STEP(ssize_t, "write", OF_FD, real.writev(fd, parts, PART(number)));
}
int rename(const char *from, const char *path) { STEP(int, "rename", OF_PATH, real.rename(from, path)); }
int unlink(const char *path) { STEP(int, "unlink", OF_PATH, real.unlink(path)); }
int unlinkat(int dir, const char *path, int flags) {
  STEP(int, "unlink", OF_PATH, real.unlinkat(dir, path, flags));
}
int mkdir(const char *path, mode_t mode) { STEP(int, "mkdir", OF_PATH, real.mkdir(path, mode)); }
int rmdir(const char *path) { STEP(int, "rmdir", OF_PATH, real.rmdir(path)); }

int bind(int fd, const struct sockaddr *address, socklen_t size) {
  const char *path = ((const struct sockaddr_un *)address)->sun_path;
#define OF_ADDRESS(name, room) (address->sa_family == AF_UNIX && name_path(name, room, path))
  STEP(int, "bind", OF_ADDRESS, real.bind(fd, address, size));
}

int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const env[]) {
#define OF_ARGV(name, room) (snprintf(name, room, "%s", last_part(argv[0])) > 0)
  STEP(int, "spawn", OF_ARGV, real.posix_spawnp(pid, path, actions, attributes, argv, env));
}
int execvp(const char *path, char *const argv[]) { STEP(int, "exec", OF_PATH, real.execvp(path, argv)); }

/* Only an open that may create a file leaves a trace. */
#define MODE_OF(flags)                                     \
  mode_t mode = 0;                                         \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                   \
    va_list rest;                                          \
    va_start(rest, flags);                                 \
    mode = va_arg(rest, mode_t);                           \
    va_end(rest);                                          \
  }
#define IF_CREATING(name, room) ((flags & O_CREAT) && name_path(name, room, path))

int open(const char *path, int flags, ...) {
  MODE_OF(flags)
  STEP(int, "create", IF_CREATING, real.open(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
  MODE_OF(flags)
  STEP(int, "create", IF_CREATING, real.open(path, flags, mode));
}
int openat64(int dir, const char *path, int flags, ...) {
  MODE_OF(flags)
  STEP(int, "create", IF_CREATING, real.openat(dir, path, flags, mode));
}
