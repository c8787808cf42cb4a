/* SPDX-License-Identifier: MIT
   fs_path: what is done to files by their paths: the system's calls, each on an OS
   thread. */
#define _GNU_SOURCE             /* O_DIRECTORY, O_NOFOLLOW */
#include "fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int told(int rc)
{
    return rc < 0 ? fern_fs_error() : 0;
}

/* ---- stat ---- */

static int run_stat(fern_fs_call *call)
{
    return told(stat(call->path, &call->stat));
}

static int run_lstat(fern_fs_call *call)
{
    return told(lstat(call->path, &call->stat));
}

static int finish_stat(fern_fs_call *call, double deadline, struct stat *out)
{
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0)
        *out = call->stat;
    fern_fs_call_free(call);
    return rc;
}

int fern_fs_stat(const char *path, double deadline, struct stat *out)
{
    return finish_stat(fern_fs_call_new("stat", run_stat, path, NULL, 0), deadline, out);
}

int fern_fs_lstat(const char *path, double deadline, struct stat *out)
{
    return finish_stat(fern_fs_call_new("stat", run_lstat, path, NULL, 0), deadline, out);
}

/* ---- names ---- */

static int run_rename(fern_fs_call *call)
{
    return told(rename(call->path, call->other));
}

int fern_fs_rename(const char *from, const char *to, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("rename", run_rename, from, to, 0), deadline);
}

static int run_link(fern_fs_call *call)
{
    return told(link(call->other, call->path));
}

int fern_fs_link(const char *target, const char *path, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("link", run_link, path, target, 0), deadline);
}

static int run_symlink(fern_fs_call *call)
{
    return told(symlink(call->other, call->path));
}

int fern_fs_symlink(const char *target, const char *path, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("symlink", run_symlink, path, target, 0), deadline);
}

/* ---- contents and permissions ---- */

static int run_chmod(fern_fs_call *call)
{
    return told(chmod(call->path, call->mode));
}

int fern_fs_chmod(const char *path, mode_t mode, double deadline)
{
    fern_fs_call *call = fern_fs_call_new("chmod", run_chmod, path, NULL, 0);
    if (call)
        call->mode = mode;
    return fern_fs_finish(call, deadline);
}

static int run_truncate(fern_fs_call *call)
{
    return told(truncate(call->path, call->offset));
}

int fern_fs_truncate(const char *path, off_t size, double deadline)
{
    fern_fs_call *call = fern_fs_call_new("truncate", run_truncate, path, NULL, 0);
    if (call)
        call->offset = size;
    return fern_fs_finish(call, deadline);
}

/* ---- removing ---- */

static int run_rmdir(fern_fs_call *call)
{
    return told(rmdir(call->path));
}

int fern_fs_rmdir(const char *path, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("rmdir", run_rmdir, path, NULL, 0), deadline);
}

static int run_remove(fern_fs_call *call)
{
    return told(unlink(call->path));
}

int fern_fs_remove(const char *path, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("remove", run_remove, path, NULL, 0), deadline);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int remove_at(int folder, const char *name);

/* Relative to descriptors: a name that becomes a link meanwhile leads nowhere. */
static int empty_folder(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fern_fs_error();
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (!is_dots(entry->d_name))
            rc = remove_at(fd, entry->d_name);
    closedir(dir);
    return rc;
}

static int remove_at(int folder, const char *name)
{
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return 0;
    int why = fern_fs_error();
    if (why != -EISDIR && why != -EPERM)        /* POSIX says EPERM of a directory */
        return why;
    int rc = empty_folder(folder, name);
    if (rc == -ENOTDIR)
        return why;
    if (rc == 0 && unlinkat(folder, name, AT_REMOVEDIR) < 0)
        rc = fern_fs_error();
    return rc == -ENOENT ? 0 : rc;
}

static int run_remove_tree(fern_fs_call *call)
{
    return remove_at(AT_FDCWD, call->path);
}

int fern_fs_remove_tree(const char *path, double deadline)
{
    return fern_fs_finish(fern_fs_call_new("removal", run_remove_tree, path, NULL, 0), deadline);
}

/* ---- directories ---- */

static int make_one(const char *path, mode_t mode)
{
    struct stat found;
    if (mkdir(path, mode) == 0)
        return 0;
    int rc = fern_fs_error();
    if (rc == -EEXIST && stat(path, &found) == 0 && S_ISDIR(found.st_mode))
        return 0;
    return rc;
}

/* Cuts the path at each slash in turn: a copy, for others look at ours. */
static int run_mkdir(fern_fs_call *call)
{
    if (!call->flags || !*call->path)
        return told(mkdir(call->path, call->mode));
    char *path = call->got = strdup(call->path);
    if (!path)
        return -ENOMEM;
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        int rc = make_one(path, 0777);
        *slash = '/';
        if (rc < 0)
            return rc;
        if (!slash[1])
            break;
    }
    return make_one(path, call->mode);
}

int fern_fs_mkdir(const char *path, mode_t mode, bool parents, double deadline)
{
    fern_fs_call *call = fern_fs_call_new("mkdir", run_mkdir, path, NULL, 0);
    if (call) {
        call->mode = mode;
        call->flags = parents;
    }
    return fern_fs_finish(call, deadline);
}

/* ---- what links say ---- */

static int run_readlink(fern_fs_call *call)
{
    char *text = malloc(PATH_MAX + 1);
    if (!text)
        return -ENOMEM;
    call->got = text;
    ssize_t length = readlink(call->path, text, PATH_MAX);
    if (length < 0)
        return fern_fs_error();
    text[length] = 0;
    return 0;
}

static int run_realpath(fern_fs_call *call)
{
    call->got = realpath(call->path, NULL);
    return call->got ? 0 : fern_fs_error();
}

static int finish_text(fern_fs_call *call, double deadline, char **out)
{
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0) {
        *out = call->got;
        call->got = NULL;
    }
    fern_fs_call_free(call);
    return rc;
}

int fern_fs_readlink(const char *path, double deadline, char **out)
{
    return finish_text(fern_fs_call_new("readlink", run_readlink, path, NULL, 0), deadline, out);
}

int fern_fs_realpath(const char *path, double deadline, char **out)
{
    return finish_text(fern_fs_call_new("realpath", run_realpath, path, NULL, 0), deadline, out);
}

/* ---- temporary ---- */

static int make_dir(const char *path, void *arg)
{
    (void)arg;
    return told(mkdir(path, 0700));
}

static int run_temp_dir(fern_fs_call *call)
{
    char *name = NULL;
    int rc = fern_fs_try_names(call->path, make_dir, NULL, &name);
    call->got = name;
    return rc;
}

static void undo_temp_dir(fern_fs_call *call)
{
    rmdir(call->got);
}

int fern_fs_temp_dir(const char *prefix, double deadline, char **path)
{
    fern_fs_call *call = fern_fs_call_new("temporary directory", run_temp_dir, prefix, NULL, 0);
    if (call)
        call->undo = undo_temp_dir;
    return finish_text(call, deadline, path);
}

static int make_file(const char *path, void *arg)
{
    int *fd = arg;
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return told(*fd);
}

static int run_temp_file(fern_fs_call *call)
{
    char *name = NULL;
    int rc = fern_fs_try_names(call->path, make_file, &call->fd, &name);
    call->got = name;
    return rc < 0 ? rc : told(fstat(call->fd, &call->stat));
}

static void undo_temp_file(fern_fs_call *call)
{
    unlink(call->got);
}

int fern_fs_temp_file(const char *prefix, double deadline, fern_stream **out, char **path)
{
    fern_fs_call *call = fern_fs_call_new("temporary file", run_temp_file, prefix, NULL, 0);
    if (call)
        call->undo = undo_temp_file;
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0)
        rc = fern_fs_adopt(call, O_RDWR, out);
    if (rc == 0) {
        *path = call->got;
        call->got = NULL;
    } else if (call->got) {
        unlink(call->got);
    }
    fern_fs_call_free(call);
    return rc;
}
