/* SPDX-License-Identifier: Apache-2.0
 *
 *     agentcg-hook [CLIENT] [--wait SECONDS] [--stay]
 *
 * What an agent runs as its hook: hands standard input to the daemon (POST /v1/hooks/CLIENT) and
 * prints what that answers. It never fails its client: whatever happens, the status is 0, and
 * without an answer nothing is printed. All that is to be known of clients is in the daemon.
 *
 * --wait: how long a call may wait for room. --stay: leave the agent in its cgroup.
 * CLIENT: claude-code without one, since versions of it before 2.1.139 do not pass `args`.
 * AGENTCG_SESSION, AGENTCG_SOCKET: as for agentcg run.
 */
#include "socket.h"

#include <signal.h>

enum {
	INPUT_MAX = 1 << 20, /* as much as the daemon takes */
	INPUT_MS = 2000,
	WAIT_MAX_S = 600,
};

static char input[INPUT_MAX + 1];

/* All of standard input, also what is too much: clients do not like a pipe that breaks. */
static size_t read_input(void)
{
	static char rest[64 << 10];
	size_t size = 0;
	int whole = 1;
	long until = now_ms() + INPUT_MS;

	for (;;) {
		ssize_t got;

		if (!wait_for(0, POLLIN, until))
			return 0;
		if (size < INPUT_MAX)
			got = read(0, input + size, INPUT_MAX - size);
		else
			got = read(0, rest, sizeof(rest));
		if (got <= 0)
			return whole ? size : 0;
		if (size == INPUT_MAX)
			whole = 0;
		else
			size += (size_t)got;
	}
}

int main(int argc, char **argv)
{
	const char *session = getenv("AGENTCG_SESSION"), *print;
	const char *client = argc > 1 ? argv[1] : "claude-code";
	char target[256];
	long wait_s = 0;
	int stay = 0;
	size_t size;

	signal(SIGPIPE, SIG_IGN);
	size = read_input();

	if (!is_name(client) || !size)
		return 0;
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--stay"))
			stay = 1;
		else if (!strcmp(argv[i], "--wait") && i + 1 < argc)
			wait_s = strtol(argv[++i], NULL, 10);
	}
	if (wait_s < 0 || wait_s > WAIT_MAX_S)
		wait_s = 0;
	if (!session || !is_name(session))
		session = "";
	snprintf(target, sizeof(target), "/v1/hooks/%s?wait_s=%ld&stay=%s%s%s", client, wait_s,
		 stay ? "true" : "false", *session ? "&session=" : "", session);
	print = ask(target, input, size, wait_s * 1000);
	for (size_t left = print ? strlen(print) : 0; left;) {
		ssize_t written = write(1, print, left);

		if (written <= 0)
			break;
		print += written;
		left -= (size_t)written;
	}
	return 0;
}
