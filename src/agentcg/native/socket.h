/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to the daemon and its answer, with a bound on every wait. Whatever goes wrong, the
 * caller is told that there is no answer, and goes on without.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	ALIVE_MS = 250,   /* for its sign of life, where the answer may come late */
	ANSWER_MS = 1000, /* for what the daemon answers at once */
	ANSWER_MAX = 256 << 10,
};

static char answer[ANSWER_MAX + 1];

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

/* A name as the daemon has them; anything else must not get into a request. */
static int is_name(const char *text)
{
	size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

	return length > 0 && length <= 63 && !text[length];
}

static int connect_daemon(void)
{
	const char *path = getenv("AGENTCG_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int link;

	if (!path || !*path)
		path = "/run/agentcg/agentcg.sock";
	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link < 0)
		return -1;
	for (int attempt = 0; connect(link, (struct sockaddr *)&address, sizeof(address)); attempt++) {
		if (errno != EAGAIN || attempt == 4) {
			close(link);
			return -1;
		}
		poll(NULL, 0, 10); /* its queue is full */
	}
	return link;
}

static int wait_for(int link, short event, long until)
{
	struct pollfd one = { .fd = link, .events = event };
	long left = until - now_ms();

	return left > 0 && poll(&one, 1, (int)left) == 1;
}

static int send_all(int link, const char *data, size_t size, long until)
{
	while (size) {
		ssize_t sent = send(link, data, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			if (!wait_for(link, POLLOUT, until))
				return 0;
			continue;
		}
		if (sent <= 0)
			return 0;
		data += sent;
		size -= (size_t)sent;
	}
	return 1;
}

/* Head and body in one piece, so that the daemon wakes once for both. */
static int send_request(int link, char *head, size_t headed, const char *body, size_t size, long until)
{
	struct iovec parts[] = { { head, headed }, { (char *)body, size } };
	struct msghdr whole = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent = sendmsg(link, &whole, MSG_NOSIGNAL);
	size_t done;

	if (sent < 0 && errno != EAGAIN)
		return 0;
	done = sent < 0 ? 0 : (size_t)sent;
	if (done < headed) {
		if (!send_all(link, head + done, headed - done, until))
			return 0;
		done = headed;
	}
	return send_all(link, body + (done - headed), size - (done - headed), until);
}

/* Read until `answer` has a whole head; its end, or NULL. */
static char *read_head(int link, size_t *size, long until)
{
	for (;;) {
		char *end;
		ssize_t got;

		answer[*size] = 0;
		end = strstr(answer, "\r\n\r\n");
		if (end)
			return end + 4;
		if (*size == ANSWER_MAX || !wait_for(link, POLLIN, until))
			return NULL;
		got = recv(link, answer + *size, ANSWER_MAX - *size, 0);
		if (got <= 0)
			return NULL;
		*size += (size_t)got;
	}
}

static size_t length_of(const char *head, const char *end)
{
	for (const char *line = head; line < end; line++) {
		line = strstr(line, "\r\n");
		if (!line || line >= end)
			break;
		if (!strncasecmp(line + 2, "content-length:", 15))
			return strtoul(line + 17, NULL, 10);
	}
	return 0;
}

/*
 * POST `body` to `target`. The body of an answer of status 200 or 201, ended by 0, or NULL.
 * `wait_ms`: how much longer the answer may take; then the daemon must show a sign of life first,
 * which it does for "Expect", also where the body is there already.
 */
static char *ask(const char *target, const char *body, size_t size, long wait_ms)
{
	char head[512];
	size_t had = 0, length;
	char *rest, *found = NULL;
	long asked = now_ms(), until = asked + ANSWER_MS + wait_ms;
	long alive = wait_ms ? asked + ALIVE_MS : until;
	int link = connect_daemon(), status;
	int headed = snprintf(head, sizeof(head),
		"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
		target, size, wait_ms ? "Expect: 100-continue\r\n" : "");

	if (link < 0)
		return NULL;
	if (headed >= (int)sizeof(head) || !send_request(link, head, (size_t)headed, body, size, alive))
		goto out;
	if (wait_ms) {
		rest = read_head(link, &had, alive);
		if (!rest || strncmp(answer, "HTTP/1.1 100", 12))
			goto out;
		had -= (size_t)(rest - answer);
		memmove(answer, rest, had);
	}
	rest = read_head(link, &had, until);
	if (!rest || strncmp(answer, "HTTP/1.1 20", 11))
		goto out;
	status = answer[11] - '0';
	length = length_of(answer, rest);
	if (status > 1 || length > ANSWER_MAX - (size_t)(rest - answer))
		goto out;
	while (had < (size_t)(rest - answer) + length) {
		ssize_t got;

		if (!wait_for(link, POLLIN, until))
			goto out;
		got = recv(link, answer + had, ANSWER_MAX - had, 0);
		if (got <= 0)
			goto out;
		had += (size_t)got;
	}
	rest[length] = 0;
	found = rest;
out:
	close(link);
	return found;
}
