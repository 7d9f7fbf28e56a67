/*
 * secrets.c
 *		Keys from files outside the database.
 *
 * No key is ever in a table (L8).  A file is read at first use and again when
 * its inode, size or modification time changes, so that replacing it rotates
 * the key without a restart.  The signing key file holds one key per line (32
 * characters or more; blank lines and lines that begin with # do not count):
 * the first signs, all verify, so that a rotation puts a new line on top and
 * takes the old one away when the last token signed with it has expired.
 *
 * The bytes are malloc'd and owned by the cache below; what is returned is
 * valid until the next call for the same setting.
 */
#include "core/core.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "tenancy/context.h"
#include "tenancy/tenancy.h"

#define MAX_SECRET_FILE (64 * 1024)
#define MIN_KEY 32
#define MAX_FILES 4

typedef struct SecretFile
{
	const char *setting;		/* a constant, the cache's key */
	char	   *path;
	ino_t		inode;
	struct timespec mtime;
	off_t		size;
	char	   *bytes;
	size_t		len;
} SecretFile;

static SecretFile secret_files[MAX_FILES];

static void
refuse_file(const char *setting, const char *path, const char *why)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_CONFIGURATION)),
			 errmsg("the file of setting \"%s\" cannot be used", setting),
			 errdetail("\"%s\" %s.", path, why),
			 errhint("The file must belong to the server's user, be readable by nobody else (chmod 600) and hold at most 64 kB.")));
}

/*
 * es_secret_file returns the content of a file named by a setting.  With
 * is_secret, the file must be readable by its owner alone (or by root's group
 * when root owns it, as PostgreSQL asks of its own TLS key).
 */
const char *
es_secret_file(const char *setting, const char *path, bool is_secret,
			   size_t *len)
{
	SecretFile *slot = NULL;
	struct stat st;
	int			fd;
	char	   *bytes;
	char	   *path_copy;
	ssize_t		got;

	for (int i = 0; i < MAX_FILES && slot == NULL; i++)
		if (secret_files[i].setting == NULL ||
			strcmp(secret_files[i].setting, setting) == 0)
			slot = &secret_files[i];
	if (slot == NULL)
		elog(ERROR, "too many secret files");

	if (stat(path, &st) != 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_CONFIGURATION)),
				 errmsg("the file of setting \"%s\" cannot be used", setting),
				 errdetail("\"%s\": %m.", path)));
	if (slot->bytes != NULL && strcmp(slot->path, path) == 0 &&
		slot->inode == st.st_ino && slot->size == st.st_size &&
		slot->mtime.tv_sec == st.st_mtim.tv_sec &&
		slot->mtime.tv_nsec == st.st_mtim.tv_nsec)
	{
		*len = slot->len;
		return slot->bytes;
	}

	if (!S_ISREG(st.st_mode))
		refuse_file(setting, path, "is not a regular file");
	if (st.st_size > MAX_SECRET_FILE)
		refuse_file(setting, path, "is larger than 64 kB");
	if (is_secret)
	{
		if (st.st_uid != geteuid() && st.st_uid != 0)
			refuse_file(setting, path, "belongs to another user than the server's");
		if ((st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO))) ||
			(st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO))))
			refuse_file(setting, path, "is readable by others");
	}
	fd = OpenTransientFile(path, O_RDONLY);
	if (fd < 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_CONFIGURATION)),
				 errmsg("the file of setting \"%s\" cannot be used", setting),
				 errdetail("\"%s\": %m.", path)));
	bytes = malloc(st.st_size + 1);
	path_copy = strdup(path);
	if (bytes == NULL || path_copy == NULL)
	{
		free(bytes);
		free(path_copy);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	got = read(fd, bytes, st.st_size);
	CloseTransientFile(fd);
	if (got != st.st_size)
	{
		free(bytes);
		free(path_copy);
		refuse_file(setting, path, "could not be read whole");
	}
	bytes[got] = '\0';

	free(slot->bytes);
	free(slot->path);
	slot->setting = setting;
	slot->path = path_copy;
	slot->bytes = bytes;
	slot->len = got;
	slot->inode = st.st_ino;
	slot->mtime = st.st_mtim;
	slot->size = st.st_size;
	*len = slot->len;
	return slot->bytes;
}

static const char *
signing_key_path(void)
{
	if (es_key_file != NULL && *es_key_file != '\0')
		return es_key_file;
	return psprintf("%s/entrestate.key", DataDir);
}

/*
 * es_signing_key returns the n-th key of the signing key file, NULL when there
 * are fewer.  Lines that are too short are an error, not a weak key.
 */
const char *
es_signing_key(size_t n, size_t *len)
{
	size_t		size;
	const char *p = es_secret_file("entrestate.key_file", signing_key_path(),
								   true, &size);
	const char *end = p + size;

	while (p < end)
	{
		const char *eol = memchr(p, '\n', end - p);
		size_t		l;

		if (eol == NULL)
			eol = end;
		l = eol - p;
		if (l > 0 && p[l - 1] == '\r')
			l--;
		if (l > 0 && *p != '#')
		{
			if (l < MIN_KEY)
				refuse_file("entrestate.key_file", signing_key_path(),
							"has a key of fewer than 32 characters");
			if (n-- == 0)
			{
				*len = l;
				return p;
			}
		}
		p = eol + 1;
	}
	return NULL;
}

/*
 * es_signing_key_ensure makes the default key file when there is none: 32
 * random bytes in hexadecimal, complete before it gets its name.
 */
void
es_signing_key_ensure(void)
{
	const char *path = signing_key_path();
	struct stat st;
	uint8		random[32];
	char		line[2 * sizeof(random) + 2];
	char	   *tmp;
	int			fd;

	if ((es_key_file != NULL && *es_key_file != '\0') || stat(path, &st) == 0)
		return;
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(line + 2 * i, 3, "%02x", random[i]);
	line[sizeof(line) - 2] = '\n';
	tmp = psprintf("%s.%d", path, MyProcPid);
	fd = OpenTransientFilePerm(tmp, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", tmp)));
	if (write(fd, line, sizeof(line) - 1) != (ssize_t) sizeof(line) - 1 ||
		pg_fsync(fd) != 0)
	{
		CloseTransientFile(fd);
		unlink(tmp);
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\"", tmp)));
	}
	CloseTransientFile(fd);
	if (link(tmp, path) != 0 && errno != EEXIST)	/* another one was quicker */
	{
		unlink(tmp);
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	}
	unlink(tmp);
}
