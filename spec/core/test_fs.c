/* SPDX-License-Identifier: MIT
   test_fs: files. A few calls of the system are our own: they wait at a gate that the
   test opens, as in a file system that does not answer, or have nothing in memory. */
#define _GNU_SOURCE
#include "fern_fs.h"
#include "offload.h"
#include "test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool stuck;              /* the gate is closed */
static int inside, passed;
static atomic_bool nothing_in_memory;

static void pass_gate(void)
{
    pthread_mutex_lock(&lock);
    bool waits = stuck;
    inside += waits;
    pthread_cond_broadcast(&changed);
    while (stuck)
        pthread_cond_wait(&changed, &lock);
    inside -= waits;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* A call has gone through the gate, and to its end. */
static void note_passed(void)
{
    pthread_mutex_lock(&lock);
    passed++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void set_stuck(bool on)
{
    pthread_mutex_lock(&lock);
    stuck = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await(const int *count, int wanted)
{
    pthread_mutex_lock(&lock);
    while (*count != wanted)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

int rename(const char *from, const char *to)
{
    REAL(rename, int, const char *, const char *);
    pass_gate();
    int rc = real(from, to);
    note_passed();
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir, int, const char *, mode_t);
    pass_gate();
    int rc = real(path, mode);
    note_passed();
    return rc;
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    REAL(pread, ssize_t, int, void *, size_t, off_t);
    pass_gate();
    return real(fd, buffer, size, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    REAL(pwrite, ssize_t, int, const void *, size_t, off_t);
    pass_gate();
    ssize_t count = real(fd, buffer, size, offset);
    note_passed();
    return count;
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    REAL(preadv2, ssize_t, int, const struct iovec *, int, off_t, int);
    if (!nothing_in_memory)
        return real(fd, parts, count, offset, flags);
    errno = EAGAIN;
    return -1;
}

/* ---- a hub, and a folder for each test ---- */

static fern_hub *hub;
static char folder[64], path[128], other[128];

static void begin(void)
{
    set_stuck(false);
    await(&inside, 0);          /* calls that the last test has left */
    nothing_in_memory = false;
    passed = 0;
    strcpy(folder, "/tmp/fern-fs-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other, sizeof other, "%s/b", folder);
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
}

static void end(void)
{
    set_stuck(false);
    CHECK_EQUAL(fern_fs_remove_tree(folder, FERN_NEVER), 0);
    CHECK_EQUAL(fern_hub_close(hub, FERN_NEVER), 0);
}

static fern_thread *spawn(fern_body *body, void *arg)
{
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    CHECK_EQUAL(fern_spawn(body, arg, &options, &thread), 0);
    return thread;
}

static int join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, fern_now() + 60), 0);
    int rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

static int kill_and_join(fern_thread *thread)
{
    fern_thread_kill(thread);
    return join(thread);
}

/* Let others run until they wait. */
static void settle(void)
{
    for (int i = 0; i < 5; i++)
        fern_sleep(fern_now() + 0.001);
}

static int look_inside(void)
{
    pthread_mutex_lock(&lock);
    int count = inside;
    pthread_mutex_unlock(&lock);
    return count;
}

/* The same until so many calls are stuck. */
static void await_stuck(int count)
{
    while (look_inside() != count)
        fern_sleep(fern_now() + 0.001);
}

static void put(const char *name, const char *text)
{
    CHECK_EQUAL(fern_fs_write_file(name, text, strlen(text), FERN_FS_REPLACE, 0644, false,
                                   FERN_NEVER), 0);
}

static void check_file(const char *name, const char *expected)
{
    char *data = NULL;
    size_t size = 0;
    CHECK_EQUAL(fern_fs_read_file(name, SIZE_MAX, FERN_NEVER, &data, &size), 0);
    CHECK_STRING(data, expected);
    CHECK_EQUAL(size, strlen(expected));
    free(data);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

static int entries(void)
{
    fern_fs_dir *dir;
    fern_fs_entry entry;
    int rc, count = 0;
    if (!CHECK_EQUAL(fern_fs_list(folder, FERN_NEVER, &dir), 0))
        return -1;
    while ((rc = fern_fs_dir_next(dir, FERN_NEVER, &entry)) == 1)
        count++;
    CHECK_EQUAL(rc, 0);
    fern_fs_dir_close(dir);
    return count;
}

static fern_stream *open_file(const char *mode)
{
    fern_stream *stream = NULL;
    CHECK_EQUAL(fern_fs_open(path, fern_fs_mode(mode), 0644, FERN_NEVER, &stream), 0);
    return stream;
}

static int write_text(fern_stream *stream, const char *text)
{
    return fern_stream_write(stream, text, strlen(text), FERN_NEVER, NULL);
}

static void check_read(fern_stream *stream, size_t count, const char *expected)
{
    char text[256] = "";
    fern_bytes bytes;
    if (!CHECK(fern_stream_exactly(stream, count, FERN_NEVER, &bytes) >= 0))
        return;
    memcpy(text, bytes.data, bytes.length);
    CHECK_STRING(text, expected);
    CHECK_EQUAL(fern_stream_take(stream, bytes.length), 0);
}

/* ---- calls and those who leave them ---- */

static int rename_it(void *arg)
{
    return fern_fs_rename(path, other, arg ? *(double *)arg : FERN_NEVER);
}

TEST(a_killed_caller_leaves_at_once_and_the_call_goes_on)
{
    begin();
    put(path, "x");
    set_stuck(true);
    fern_thread *thread = spawn(rename_it, NULL);
    await_stuck(1);
    char what[200], expected[200];
    fern_thread_describe(thread, what, sizeof what);
    snprintf(expected, sizeof expected, "rename of %s", path);
    CHECK_STRING(what, expected);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    CHECK(exists(path));
    set_stuck(false);
    await(&passed, 1);
    CHECK(exists(other));
    end();
}

TEST(a_deadline_leaves_a_stuck_call)
{
    begin();
    put(path, "x");
    set_stuck(true);
    double soon = fern_now() + 0.02;
    CHECK_EQUAL(rename_it(&soon), -ETIMEDOUT);
    set_stuck(false);
    await(&passed, 1);
    CHECK(exists(other));
    end();
}

TEST(a_deadline_that_is_past_does_nothing)
{
    begin();
    put(path, "x");
    double past = 0;
    CHECK_EQUAL(rename_it(&past), -ETIMEDOUT);
    CHECK_EQUAL(fern_fs_remove(path, 0), -ETIMEDOUT);
    CHECK(exists(path));
    end();
}

static int make_temp_dir(void *arg)
{
    char *name = NULL;
    (void)arg;
    int rc = fern_fs_temp_dir(path, FERN_NEVER, &name);
    free(name);
    return rc;
}

TEST(a_temporary_directory_made_for_nobody_goes_away)
{
    begin();
    set_stuck(true);
    fern_thread *thread = spawn(make_temp_dir, NULL);
    await_stuck(1);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    set_stuck(false);
    await(&passed, 1);
    while (entries() > 0)
        fern_sleep(fern_now() + 0.001);
    end();
}

TEST(stuck_files_leave_the_other_calls_of_the_pool_alone)
{
    enum { COUNT = FERN_OFFLOAD_THREADS + 3 };
    begin();
    fern_thread *threads[COUNT];
    set_stuck(true);
    for (int i = 0; i < COUNT; i++)
        threads[i] = spawn(rename_it, NULL);
    await_stuck(FERN_OFFLOAD_THREADS);
    struct addrinfo *found = NULL;
    int rc = fern_resolve("localhost", "80", NULL, FERN_NEVER, &found);
    CHECK(rc == 0 || rc <= FERN_EAI);
    if (found)
        freeaddrinfo(found);
    set_stuck(false);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(join(threads[i]), -ENOENT);
    end();
}

/* ---- paths ---- */

TEST(what_the_system_says_is_told)
{
    struct stat stat;
    char name[5000], *text = NULL;
    begin();
    CHECK_EQUAL(fern_fs_stat(path, FERN_NEVER, &stat), -ENOENT);
    CHECK_EQUAL(fern_fs_remove(folder, FERN_NEVER), -EISDIR);
    CHECK_EQUAL(fern_fs_readlink(folder, FERN_NEVER, &text), -EINVAL);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    CHECK_EQUAL(fern_fs_stat(name, FERN_NEVER, &stat), -ENAMETOOLONG);
    CHECK_EQUAL(fern_fs_stat("", FERN_NEVER, &stat), -ENOENT);
    CHECK_EQUAL(fern_fs_mkdir("", 0755, true, FERN_NEVER), -ENOENT);
    put(path, "12345");
    CHECK_EQUAL(fern_fs_rmdir(path, FERN_NEVER), -ENOTDIR);
    CHECK_EQUAL(fern_fs_stat(path, FERN_NEVER, &stat), 0);
    CHECK_EQUAL(stat.st_size, 5);
    CHECK_EQUAL(fern_fs_truncate(path, 3, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_chmod(path, 0600, FERN_NEVER), 0);
    check_file(path, "123");
    CHECK_EQUAL(fern_fs_symlink("a", other, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_lstat(other, FERN_NEVER, &stat), 0);
    CHECK(S_ISLNK(stat.st_mode));
    CHECK_EQUAL(fern_fs_readlink(other, FERN_NEVER, &text), 0);
    CHECK_STRING(text, "a");
    free(text);
    CHECK_EQUAL(fern_fs_realpath(other, FERN_NEVER, &text), 0);
    CHECK_STRING(text, path);
    free(text);
    end();
}

TEST(parents_are_made_and_may_be_there)
{
    struct stat stat;
    char deep[200];
    begin();
    snprintf(deep, sizeof deep, "%s//x/y/../y/z/", folder);
    CHECK_EQUAL(fern_fs_mkdir(deep, 0700, true, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_mkdir(deep, 0700, true, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_mkdir(deep, 0700, false, FERN_NEVER), -EEXIST);
    CHECK_EQUAL(fern_fs_stat(deep, FERN_NEVER, &stat), 0);
    put(path, "");
    snprintf(deep, sizeof deep, "%s/a/b", folder);
    CHECK_EQUAL(fern_fs_mkdir(deep, 0700, true, FERN_NEVER), -EEXIST);
    end();
}

TEST(a_tree_goes_and_links_in_it_are_not_followed)
{
    char name[200];
    begin();
    put(other, "stays");
    snprintf(name, sizeof name, "%s/t/u", folder);
    CHECK_EQUAL(fern_fs_mkdir(name, 0755, true, FERN_NEVER), 0);
    snprintf(name, sizeof name, "%s/t/u/link", folder);
    CHECK_EQUAL(fern_fs_symlink(folder, name, FERN_NEVER), 0);
    snprintf(name, sizeof name, "%s/t", folder);
    CHECK_EQUAL(fern_fs_remove_tree(name, FERN_NEVER), 0);
    CHECK(!exists(name));
    CHECK(exists(other));
    CHECK_EQUAL(fern_fs_remove_tree(name, FERN_NEVER), 0);
    end();
}

TEST(a_large_directory_is_told_whole)
{
    enum { MANY = 2000 };
    static char seen[MANY];
    fern_fs_dir *dir;
    fern_fs_entry entry;
    begin();
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < MANY; i++) {
        snprintf(other, sizeof other, "%s/%d", folder, i);
        close(open(other, O_CREAT | O_WRONLY, 0600));
    }
    CHECK_EQUAL(fern_fs_list(folder, FERN_NEVER, &dir), 0);
    int count = 0;
    for (; fern_fs_dir_next(dir, FERN_NEVER, &entry) == 1; count++) {
        CHECK(S_ISREG(entry.type));
        seen[atoi(entry.name)]++;
    }
    CHECK_EQUAL(count, MANY);
    CHECK(memchr(seen, 0, MANY) == NULL);
    CHECK_EQUAL(fern_fs_dir_next(dir, FERN_NEVER, &entry), 0);
    fern_fs_dir_close(dir);
    CHECK_EQUAL(fern_fs_list(other, FERN_NEVER, &dir), -ENOTDIR);
    end();
}

/* ---- whole files ---- */

static void limit_size(rlim_t size)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = size;
    setrlimit(RLIMIT_FSIZE, &limit);
}

TEST(a_full_disk_leaves_the_old_file_whole)
{
    static char much[100000];
    begin();
    put(path, "old");
    limit_size(4096);
    CHECK_EQUAL(fern_fs_write_file(path, much, sizeof much, FERN_FS_ATOMIC, 0644, false,
                                   FERN_NEVER), -EFBIG);
    limit_size(RLIM_INFINITY);
    check_file(path, "old");
    CHECK_EQUAL(entries(), 1);
    CHECK_EQUAL(fern_fs_write_file("/dev/full", "x", 1, FERN_FS_REPLACE, 0644, false,
                                   FERN_NEVER), -ENOSPC);
    end();
}

TEST(what_takes_the_place_has_the_old_permissions_and_keeps_links)
{
    struct stat stat;
    begin();
    put(path, "old");
    CHECK_EQUAL(fern_fs_chmod(path, 0640, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_symlink("a", other, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_write_file(other, "new", 3, FERN_FS_ATOMIC, 0666, true, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_lstat(other, FERN_NEVER, &stat), 0);
    CHECK(S_ISLNK(stat.st_mode));
    check_file(path, "new");
    CHECK_EQUAL(fern_fs_stat(path, FERN_NEVER, &stat), 0);
    CHECK_EQUAL(stat.st_mode & 07777, 0640);
    CHECK_EQUAL(fern_fs_write_file(path, "er", 2, FERN_FS_APPEND, 0666, false, FERN_NEVER), 0);
    check_file(path, "newer");
    CHECK_EQUAL(entries(), 2);
    end();
}

TEST(what_takes_the_place_of_nothing_stands_where_the_link_leads)
{
    char target[64] = "";
    struct stat stat;
    begin();
    CHECK_EQUAL(fern_fs_symlink("a", other, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_write_file(other, "new", 3, FERN_FS_ATOMIC, 0666, true, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fs_lstat(other, FERN_NEVER, &stat), 0);
    CHECK(S_ISLNK(stat.st_mode));
    check_file(path, "new");
    CHECK_EQUAL(fern_fs_remove(path, FERN_NEVER), 0);
    snprintf(target, sizeof target, "%s", strrchr(other, '/') + 1);
    CHECK_EQUAL(fern_fs_symlink(target, path, FERN_NEVER), 0);      /* each leads to the other */
    CHECK_EQUAL(fern_fs_write_file(other, "new", 3, FERN_FS_ATOMIC, 0666, true, FERN_NEVER), -ELOOP);
    end();
}

static int replace_it(void *arg)
{
    (void)arg;
    return fern_fs_write_file(path, "new", 3, FERN_FS_ATOMIC, 0644, false, FERN_NEVER);
}

TEST(a_replacement_that_was_left_is_whole_or_not_at_all)
{
    begin();
    put(path, "old");
    set_stuck(true);
    fern_thread *thread = spawn(replace_it, NULL);
    await_stuck(1);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    check_file(path, "old");
    set_stuck(false);
    await(&passed, 1);
    check_file(path, "new");
    CHECK_EQUAL(entries(), 1);
    end();
}

TEST(a_file_is_read_whole_up_to_a_limit)
{
    char *data = NULL;
    size_t size = 0;
    begin();
    put(path, "12345");
    CHECK_EQUAL(fern_fs_read_file(path, 4, FERN_NEVER, &data, &size), -EMSGSIZE);
    CHECK_EQUAL(fern_fs_read_file(path, 5, FERN_NEVER, &data, &size), 0);
    CHECK_EQUAL(size, 5);
    free(data);
    CHECK_EQUAL(fern_fs_read_file(folder, 5, FERN_NEVER, &data, &size), -EISDIR);
    CHECK_EQUAL(fern_fs_read_file("/dev/zero", 100000, FERN_NEVER, &data, &size), -EMSGSIZE);
    CHECK_EQUAL(fern_fs_read_file("/proc/self/stat", SIZE_MAX, FERN_NEVER, &data, &size), 0);
    CHECK(size > 10 && data[size] == 0);
    free(data);
    end();
}

/* ---- files ---- */

TEST(modes_are_those_of_fopen)
{
    CHECK_EQUAL(fern_fs_mode("r"), O_RDONLY);
    CHECK_EQUAL(fern_fs_mode("rb"), O_RDONLY);
    CHECK_EQUAL(fern_fs_mode("r+"), O_RDWR);
    CHECK_EQUAL(fern_fs_mode("w"), O_WRONLY | O_CREAT | O_TRUNC);
    CHECK_EQUAL(fern_fs_mode("w+b"), O_RDWR | O_CREAT | O_TRUNC);
    CHECK_EQUAL(fern_fs_mode("wx"), O_WRONLY | O_CREAT | O_TRUNC | O_EXCL);
    CHECK_EQUAL(fern_fs_mode("a+"), O_RDWR | O_CREAT | O_APPEND);
    const char *const wrong[] = { "", "x", "rx", "r++", "rw", "wxx", "+r", "R", "r+?" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_EQUAL(fern_fs_mode(wrong[i]), -EINVAL);
}

static void check_one_position(void)
{
    off_t position = -1;
    begin();
    put(path, "0123456789");
    fern_stream *stream = open_file("r+");
    check_read(stream, 3, "012");
    CHECK_EQUAL(fern_fs_seek(stream, 0, SEEK_CUR, FERN_NEVER, &position), 0);
    CHECK_EQUAL(position, 3);
    CHECK_EQUAL(write_text(stream, "xy"), 0);
    check_read(stream, 2, "56");
    CHECK_EQUAL(fern_fs_seek(stream, -2, SEEK_END, FERN_NEVER, &position), 0);
    CHECK_EQUAL(position, 8);
    check_read(stream, 9, "89");
    check_read(stream, 9, "");
    CHECK_EQUAL(write_text(stream, "!"), 0);
    CHECK_EQUAL(fern_fs_seek(stream, 0, SEEK_SET, FERN_NEVER, NULL), 0);
    check_read(stream, 100, "012xy56789!");
    CHECK_EQUAL(fern_fs_seek(stream, -1, SEEK_SET, FERN_NEVER, &position), -EINVAL);
    CHECK_EQUAL(fern_fs_seek(stream, 0, 77, FERN_NEVER, &position), -EINVAL);
    CHECK_EQUAL(position, 8);
    CHECK_EQUAL(fern_fs_close(stream, FERN_NEVER), 0);
    end();
}

TEST(reads_and_writes_share_one_position)
{
    check_one_position();
}

TEST(the_same_through_os_threads)
{
    nothing_in_memory = true;
    check_one_position();
}

TEST(a_file_that_shrinks_and_grows_under_a_reader)
{
    begin();
    put(path, "0123456789");
    fern_stream *stream = open_file("r");
    CHECK_EQUAL(truncate(path, 0), 0);
    check_read(stream, 4, "");
    put(path, "abcd");
    check_read(stream, 4, "");          /* the end stays one, as with stdio... */
    CHECK_EQUAL(fern_fs_seek(stream, 0, SEEK_CUR, FERN_NEVER, NULL), 0);
    check_read(stream, 4, "abcd");      /* ...until one asks */
    fern_stream_close(stream);
    end();
}

static int read_some(void *arg)
{
    fern_bytes bytes;
    int rc = fern_stream_some(arg, SIZE_MAX, FERN_NEVER, &bytes);
    return rc;
}

TEST(a_read_that_was_left_has_taken_nothing)
{
    begin();
    put(path, "0123456789");
    fern_stream *stream = open_file("r");
    nothing_in_memory = true;
    set_stuck(true);
    fern_thread *thread = spawn(read_some, stream);
    await_stuck(1);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_some(stream, 9, FERN_NEVER, &bytes), -EBUSY);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    set_stuck(false);
    check_read(stream, 20, "0123456789");
    fern_stream_close(stream);
    end();
}

static int write_abc(void *arg)
{
    return write_text(arg, "abc");
}

TEST(after_a_write_that_was_left_others_wait_for_its_end)
{
    begin();
    fern_stream *stream = open_file("w");
    set_stuck(true);
    fern_thread *thread = spawn(write_abc, stream);
    await_stuck(1);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    CHECK_EQUAL(write_text(stream, "xyz"), -EBUSY);
    set_stuck(false);
    int rc;
    while ((rc = write_text(stream, "xyz")) == -EBUSY)
        fern_sleep(fern_now() + 0.001);
    CHECK_EQUAL(rc, 0);
    CHECK_EQUAL(fern_fs_close(stream, FERN_NEVER), 0);
    check_file(path, "xyz");
    end();
}

TEST(closing_wakes_readers_and_keeps_the_number_until_the_call_ends)
{
    begin();
    put(path, "0123456789");
    fern_stream *stream = open_file("r");
    int fd = fern_stream_fd(stream);
    nothing_in_memory = true;
    set_stuck(true);
    fern_thread *thread = spawn(read_some, stream);
    await_stuck(1);
    fern_stream_close(stream);
    CHECK_EQUAL(join(thread), -EBADF);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    set_stuck(false);
    while (fcntl(fd, F_GETFD) >= 0)
        usleep(1000);
    end();
}

static int append_many(void *arg)
{
    enum { SIZE = 100 * 1024 };
    char *text = malloc(SIZE);
    memset(text, *(char *)arg, SIZE);
    fern_stream *stream = open_file("a");
    struct iovec parts[] = { { text, SIZE / 2 }, { text, SIZE / 2 } };
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        struct iovec now[] = { parts[0], parts[1] };
        rc = fern_stream_writev(stream, now, 2, FERN_NEVER, NULL);
    }
    free(text);
    fern_stream_close(stream);
    return rc;
}

TEST(what_is_appended_at_once_stays_together)
{
    enum { SIZE = 100 * 1024 };
    char *data = NULL, *same = malloc(SIZE);
    size_t size = 0;
    begin();
    char letters[] = "abcd";
    fern_thread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = spawn(append_many, &letters[i]);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(join(threads[i]), 0);
    CHECK_EQUAL(fern_fs_read_file(path, SIZE_MAX, FERN_NEVER, &data, &size), 0);
    CHECK_EQUAL(size, 20 * SIZE);
    for (size_t i = 0; i + SIZE <= size; i += SIZE) {
        memset(same, data[i], SIZE);
        CHECK(memcmp(same, data + i, SIZE) == 0);
    }
    free(same);
    free(data);
    end();
}

TEST(a_full_disk_tells_how_much_was_written)
{
    static char much[100000];
    size_t written = 0;
    begin();
    fern_stream *stream = open_file("w");
    limit_size(4096);
    CHECK_EQUAL(fern_stream_write(stream, much, sizeof much, FERN_NEVER, &written), -EFBIG);
    limit_size(RLIM_INFINITY);
    CHECK_EQUAL(written, 4096);
    CHECK_EQUAL(fern_fs_sync(stream, true, FERN_NEVER), 0);
    struct stat stat;
    CHECK_EQUAL(fern_fs_stat_stream(stream, FERN_NEVER, &stat), 0);
    CHECK_EQUAL(stat.st_size, 4096);
    CHECK_EQUAL(fern_fs_truncate_stream(stream, 0, FERN_NEVER), 0);
    fern_stream_close(stream);
    check_file(path, "");
    end();
}

TEST(without_descriptors_nothing_opens_and_later_it_does)
{
    struct rlimit old, none;
    fern_stream *stream = NULL;
    fern_fs_watch *watch;
    fern_fs_dir *dir;
    begin();
    put(path, "x");
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    CHECK_EQUAL(fern_fs_open(path, O_RDONLY, 0, FERN_NEVER, &stream), -EMFILE);
    CHECK_EQUAL(fern_fs_list(folder, FERN_NEVER, &dir), -EMFILE);
    CHECK_EQUAL(fern_fs_watch_open(folder, FERN_NEVER, &watch), -EMFILE);
    setrlimit(RLIMIT_NOFILE, &old);
    check_file(path, "x");
    stream = open_file("r");
    fern_stream_close(stream);
    end();
}

/* ---- what waits on the hub ---- */

static int read_hello(void *arg)
{
    (void)arg;
    fern_stream *stream = open_file("r");
    check_read(stream, 100, "hello");
    fern_stream_close(stream);
    return 0;
}

TEST(a_fifo_waits_for_its_other_end_on_the_hub)
{
    begin();
    CHECK_EQUAL(mkfifo(path, 0600), 0);
    fern_thread *reader = spawn(read_hello, NULL);
    settle();
    CHECK(!fern_thread_done(reader));
    fern_stream *writer = open_file("w");
    CHECK_EQUAL(write_text(writer, "hello"), 0);
    fern_stream_close(writer);
    CHECK_EQUAL(join(reader), 0);
    end();
}

static int open_writer(void *arg)
{
    fern_stream *stream;
    return fern_fs_open(path, O_WRONLY, 0, *(double *)arg, &stream);
}

TEST(who_wants_to_write_waits_for_a_reader_and_may_leave)
{
    begin();
    CHECK_EQUAL(mkfifo(path, 0600), 0);
    double soon = fern_now() + 0.01, never = FERN_NEVER;
    CHECK_EQUAL(open_writer(&soon), -ETIMEDOUT);
    fern_thread *thread = spawn(open_writer, &never);
    settle();
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    end();
}

static void check_shared(int ours, int theirs)
{
    fern_stream *stream;
    int flags = fcntl(ours, F_GETFL);
    CHECK_EQUAL(fern_fs_standard(ours, FERN_NEVER, &stream), 0);
    fern_thread *thread = spawn(read_some, stream);
    settle();
    CHECK_EQUAL(fcntl(ours, F_GETFL), flags);
    CHECK_EQUAL(write(theirs, "hi", 2), 2);
    CHECK_EQUAL(join(thread), 1);
    check_read(stream, 2, "hi");
    thread = spawn(read_some, stream);
    settle();
    fern_stream_close(stream);
    CHECK_EQUAL(join(thread), -EBADF);
    CHECK_EQUAL(fcntl(ours, F_GETFL), flags);
    close(ours);
    close(theirs);
}

TEST(a_shared_descriptor_keeps_its_flags)
{
    int ends[2];
    begin();
    CHECK_EQUAL(pipe(ends), 0);
    check_shared(ends[0], ends[1]);
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    check_shared(ends[0], ends[1]);
    fern_stream *stream;
    CHECK_EQUAL(fern_fs_standard(ends[0], FERN_NEVER, &stream), -EBADF);
    CHECK_EQUAL(fern_fs_standard(-1, FERN_NEVER, &stream), -EBADF);
    end();
}

static int write_a_lot(void *arg)
{
    static char much[300000];
    return fern_stream_write(arg, much, sizeof much, FERN_NEVER, NULL);
}

static void check_shared_write(int ours, int theirs)
{
    static char buffer[300000];
    fern_stream *stream;
    CHECK_EQUAL(fern_fs_standard(ours, FERN_NEVER, &stream), 0);
    fern_thread *thread = spawn(write_a_lot, stream);
    size_t total = 0;
    while (total < sizeof buffer) {
        CHECK_EQUAL(fern_fd_wait(theirs, FERN_READ, fern_now() + 10), 0);
        ssize_t count = read(theirs, buffer, sizeof buffer);
        if (!CHECK(count > 0))
            break;
        total += (size_t)count;
    }
    CHECK_EQUAL(join(thread), 0);
    fern_stream_close(stream);
    close(theirs);
    close(ours);
}

TEST(a_shared_descriptor_that_is_full_is_waited_for)
{
    int ends[2];
    begin();
    CHECK_EQUAL(pipe(ends), 0);
    check_shared_write(ends[1], ends[0]);
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    check_shared_write(ends[1], ends[0]);
    end();
}

/* ---- watching ---- */

static void check_event(fern_fs_watch *watch, const char *what, const char *name)
{
    fern_fs_event event = { .name = "?" };
    if (!CHECK_EQUAL(fern_fs_watch_next(watch, fern_now() + 10, &event), 1))
        return;
    CHECK_STRING(fern_fs_what_name(event.what), what);
    CHECK_STRING(event.name ? event.name : "(itself)", name);
}

static int next_event(void *watch)
{
    fern_fs_event event;
    return fern_fs_watch_next(watch, FERN_NEVER, &event);
}

TEST(events_are_told_in_order_and_none_is_lost_by_leaving)
{
    fern_fs_watch *watch;
    fern_fs_event event;
    begin();
    CHECK_EQUAL(fern_fs_watch_open(path, FERN_NEVER, &watch), -ENOENT);
    CHECK_EQUAL(fern_fs_watch_open(folder, FERN_NEVER, &watch), 0);
    CHECK_EQUAL(fern_fs_watch_next(watch, 0, &event), -ETIMEDOUT);
    fern_thread *thread = spawn(next_event, watch);
    settle();
    CHECK_EQUAL(fern_fs_watch_next(watch, FERN_NEVER, &event), -EBUSY);
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
    put(path, "x");
    CHECK_EQUAL(rename(path, other), 0);
    CHECK_EQUAL(unlink(other), 0);
    check_event(watch, "created", "a");
    check_event(watch, "changed", "a");
    check_event(watch, "written", "a");
    check_event(watch, "moved_from", "a");
    check_event(watch, "moved_to", "b");
    check_event(watch, "removed", "b");
    CHECK_EQUAL(rmdir(folder), 0);
    check_event(watch, "gone", "(itself)");
    CHECK_EQUAL(fern_fs_watch_next(watch, FERN_NEVER, &event), 0);
    CHECK_EQUAL(fern_fs_watch_next(watch, FERN_NEVER, &event), 0);
    fern_fs_watch_close(watch);
    end();
}

TEST(closing_a_watch_wakes_its_waiter)
{
    fern_fs_watch *watch;
    begin();
    CHECK_EQUAL(fern_fs_watch_open(folder, FERN_NEVER, &watch), 0);
    fern_thread *thread = spawn(next_event, watch);
    settle();
    fern_fs_watch_close(watch);
    CHECK_EQUAL(join(thread), -EBADF);
    end();
}

TEST(an_overflow_is_told)
{
    fern_fs_watch *watch;
    fern_fs_event event = { .name = NULL };
    int most = 0, rc = 1;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (!file || fscanf(file, "%d", &most) != 1 || most > 100000)
        SKIP("the queue of events is too long");
    fclose(file);
    begin();
    CHECK_EQUAL(fern_fs_watch_open(folder, FERN_NEVER, &watch), 0);
    for (int i = 0; i <= most; i++)
        close(open(i % 2 ? path : other, O_CREAT | O_WRONLY, 0600));
    while (rc == 1 && event.what != FERN_FS_OVERFLOW)
        rc = fern_fs_watch_next(watch, fern_now() + 1, &event);
    CHECK_EQUAL(event.what, FERN_FS_OVERFLOW);
    CHECK(!event.name);
    fern_fs_watch_close(watch);
    end();
}

TEST_MAIN
