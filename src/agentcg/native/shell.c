/* SPDX-License-Identifier: Apache-2.0
 *
 *     agentcg-shell COMMAND              as CLAUDE_CODE_SHELL_PREFIX: bash -c COMMAND, in a call
 *     bash|sh|dash|zsh ARGUMENTS...      under one of these names (a link): that shell; in a call
 *                                        if it has a -c
 *     agentcg-shell --into CALL PROGRAM ARGUMENTS...    that program, in a call that was begun
 *     agentcg-shell --join [COMMAND]     put the parent, a shell, into a call (from BASH_ENV)
 *
 * For clients without hooks. It asks the daemon for a place (POST /v1/shells) and becomes the shell:
 * same process, so quoting, exit status, signals, terminal and job control are the shell's own.
 * Without a daemon, or in a call already, it becomes the shell at once.
 *
 * AGENTCG_REAL_SHELL: the shell to become. AGENTCG_WAIT: seconds that it may wait for room.
 * AGENTCG_SESSION, AGENTCG_SOCKET: as for agentcg run.
 */
#include "socket.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

enum {
	COMMAND_CHARS = 4096, /* as much as the daemon keeps */
	WAIT_MAX_S = 600,
	NOT_FOUND = 127, /* as shells and env(1) have it */
	NOT_EXECUTABLE = 126,
	OOM_SCORE_ADJ_RAISE = 500, /* as of agentcg run: the call goes before the agent */
};

static char body[COMMAND_CHARS * 6 + 256];

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	path = slash ? slash + 1 : path;
	return *path == '-' ? path + 1 : path; /* a login shell */
}

/* Bytes of the character at `at` if it is one of UTF-8, else 0. */
static int utf8(const unsigned char *at)
{
	int more = at[0] < 0x80 ? 0 : at[0] >= 0xc2 && at[0] < 0xe0 ? 1 :
		at[0] >= 0xe0 && at[0] < 0xf0 ? 2 : at[0] >= 0xf0 && at[0] < 0xf5 ? 3 : -1;

	for (int i = 1; i <= more; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return more + 1;
}

/* `text` as it stands in a JSON string, cut to what the daemon keeps. */
static size_t escaped(char *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t size = 0;

	for (int count = 0; *at && count < COMMAND_CHARS; count++) {
		int length = utf8(at);

		if (*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7f)
			size += (size_t)sprintf(out + size, "\\u%04x", *at);
		else if (!length)
			out[size++] = '?';
		else
			for (int i = 0; i < length; i++)
				out[size++] = (char)at[i];
		at += length ? length : 1;
	}
	return size;
}

/* Whether this process is in a call, or sees no cgroups at all. */
static int in_call(void)
{
	char text[8192];
	int file = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t size = file < 0 ? -1 : read(file, text, sizeof(text) - 1);

	if (file >= 0)
		close(file);
	if (size <= 0)
		return 0;
	text[size] = 0;
	return strstr(text, "/call-") != NULL;
}

static void raise_oom_score_adj(void)
{
	char text[16];
	int file = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	ssize_t size = file < 0 ? -1 : read(file, text, sizeof(text) - 1);

	if (size > 0) {
		long value;

		text[size] = 0;
		value = strtol(text, NULL, 10) + OOM_SCORE_ADJ_RAISE;
		size = snprintf(text, sizeof(text), "%ld", value > 1000 ? 1000 : value);
		if (pwrite(file, text, (size_t)size, 0) < 0)
			size = 0; /* a sandbox: nothing is lost */
	}
	if (file >= 0)
		close(file);
}

/* Ask for a place for this process, or for its parent; in `call`, where one is named. */
static int place(const char *command, int parent, const char *call)
{
	const char *session = getenv("AGENTCG_SESSION"), *wait = getenv("AGENTCG_WAIT");
	long wait_s = wait ? strtol(wait, NULL, 10) : 0;
	size_t size = (size_t)sprintf(body, "{\"command\":\"");

	if (!call && in_call())
		return 0;
	if (wait_s < 0 || wait_s > WAIT_MAX_S)
		wait_s = 0;
	size += escaped(body + size, command);
	size += (size_t)sprintf(body + size, "\",\"parent\":%s,\"wait_s\":%ld",
				parent ? "true" : "false", wait_s);
	if (call && is_name(call))
		size += (size_t)sprintf(body + size, ",\"call\":\"%s\"", call);
	else if (session && is_name(session))
		size += (size_t)sprintf(body + size, ",\"session\":\"%s\"", session);
	body[size++] = '}';
	return ask("/v1/shells", body, size, wait_s * 1000) != NULL;
}

/* The command after -c (also as one of several letters), or NULL. */
static const char *command_of(char **argv)
{
	for (int i = 1; argv[i]; i++) {
		const char *word = argv[i];

		if (!strcmp(word, "--") || (*word != '-' && *word != '+'))
			return NULL;
		if (word[0] == '-' && word[1] == '-') {
			if ((!strcmp(word, "--rcfile") || !strcmp(word, "--init-file")) && argv[i + 1])
				i++;
			continue;
		}
		if (word[0] == '-' && strchr(word, 'c')) {
			/* options may still come between -c and the command */
			for (i++; argv[i] && (argv[i][0] == '-' || argv[i][0] == '+'); i++) {
				if (!strcmp(argv[i], "--"))
					return argv[i + 1];
				if (strchr(argv[i], 'o') && argv[i + 1])
					i++;
			}
			return argv[i];
		}
		if (strpbrk(word, "oO") && argv[i + 1])
			i++;
	}
	return NULL;
}

static int is_self(const char *path)
{
	struct stat own, other;

	return !stat("/proc/self/exe", &own) && !stat(path, &other) &&
		own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static int become(const char *name, char **argv)
{
	static const char *const folders[] = { "/bin", "/usr/bin", "/usr/local/bin", NULL };
	const char *real = getenv("AGENTCG_REAL_SHELL");
	char path[PATH_MAX];

	if (real && *real == '/' && !is_self(real) && !strcmp(base_name(real), name))
		execv(real, argv);
	for (int i = 0; folders[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], name);
		if (!is_self(path))
			execv(path, argv);
	}
	fprintf(stderr, "agentcg-shell: %s: no such shell\n", name);
	return NOT_FOUND;
}

/* Of Claude Code only the tool's shells: its hooks and servers of tools get the prefix, too. */
static int is_tool(void)
{
	const char *agent = getenv("AI_AGENT");
	size_t length = agent ? strlen(agent) : 0;

	if (!length)
		return !getenv("CLAUDECODE") || getenv("CLAUDE_CODE_SESSION_ID");
	return length > 6 && !strcmp(agent + length - 6, "_agent");
}

int main(int argc, char **argv)
{
	static const char *const shells[] = { "bash", "sh", "dash", "zsh", "ash", "ksh", NULL };
	const char *name = argc ? base_name(argv[0]) : "", *command;

	for (int i = 0; shells[i]; i++) {
		if (strcmp(name, shells[i]))
			continue;
		command = command_of(argv);
		if (command && place(command, 0, NULL))
			raise_oom_score_adj();
		return become(name, argv);
	}
	if (argc >= 2 && !strcmp(argv[1], "--join")) {
		place(argc > 2 ? argv[2] : "", 1, NULL);
		return 0;
	}
	if (argc >= 4 && !strcmp(argv[1], "--into")) {
		if (place("", 0, argv[2]))
			raise_oom_score_adj();
		execvp(argv[3], argv + 3);
		fprintf(stderr, "agentcg-shell: %s: %s\n", argv[3], strerror(errno));
		return errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
	}
	if (argc != 2) {
		fprintf(stderr, "usage: agentcg-shell COMMAND | --join [COMMAND] | --into CALL PROGRAM...\n");
		return 2;
	}
	if (is_tool() && place(argv[1], 0, NULL))
		raise_oom_score_adj();
	return become("bash", (char *[]){ "/bin/bash", "-c", argv[1], NULL });
}
