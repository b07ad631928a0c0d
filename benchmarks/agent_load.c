/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP load for agent.py, one thread with epoll.
 *
 *   agent_load rate PORT CONNECTIONS RATE SECONDS   open loop: request i is due at start + i/RATE on connection i % CONNECTIONS, and its
 *                                                   latency counts from then, also when the connection was still busy with an earlier one
 *   agent_load full PORT CONNECTIONS 0 SECONDS      closed loop: as fast as answers come
 *   agent_load idle PORT CONNECTIONS SOURCE 0       from 127.0.0.SOURCE: one request on each connection, then prints a line and holds
 *                                                   them until stdin ends
 *
 * Prints one JSON object. Latencies are microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define LONGEST_US 2000000

struct connection {
	int fd;
	int busy;
	long waiting;      /* requests that are due but not written */
	long next_waiting; /* number of the first of them */
	int64_t due;
	int got;
	char answer[4096];
};

static const char request[] = "GET /api/items HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n";
static uint32_t histogram[LONGEST_US + 1];
static long sent, answered, failed;

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void open_connection(struct connection *c, int port, int source)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + source)};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
	if (bind(c->fd, (void *)&from, sizeof from) || connect(c->fd, (void *)&to, sizeof to))
		die("connect");
}

static void send_request(struct connection *c, int64_t due)
{
	c->due = due;
	c->busy = 1;
	c->got = 0;
	sent++;
	if (write(c->fd, request, sizeof request - 1) != sizeof request - 1)
		die("write");
}

/* Whether the answer is complete; counts it. */
static int receive(struct connection *c)
{
	long n = read(c->fd, c->answer + c->got, sizeof c->answer - 1 - c->got);
	char *head_end, *length;

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		die("the server closed a connection");
	c->got += n;
	c->answer[c->got] = 0;
	head_end = strstr(c->answer, "\r\n\r\n");
	length = head_end ? strcasestr(c->answer, "content-length:") : NULL;
	if (!length || c->got < head_end + 4 - c->answer + atol(length + 15))
		return 0;
	if (strncmp(c->answer, "HTTP/1.1 200", 12))
		failed++;
	answered++;
	int64_t us = (now_ns() - c->due) / 1000;
	histogram[us < 0 ? 0 : us > LONGEST_US ? LONGEST_US : us]++;
	c->busy = 0;
	return 1;
}

static long percentile(double share)
{
	long wanted = answered * share, seen = 0;
	for (long us = 0; us <= LONGEST_US; us++)
		if ((seen += histogram[us]) > wanted)
			return us;
	return LONGEST_US;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return fprintf(stderr, "usage: agent_load rate|full|idle PORT CONNECTIONS RATE SECONDS\n"), 2;
	int open_loop = !strcmp(argv[1], "rate"), idle = !strcmp(argv[1], "idle"), port = atoi(argv[2]), count = atoi(argv[3]);
	double rate = atof(argv[4]), seconds = atof(argv[5]);
	struct connection *all = calloc(count, idle ? 1 : sizeof *all), one;
	int epoll = epoll_create1(0);

	if (idle) {
		for (int i = 0; i < count; i++) {
			open_connection(&one, port, rate);
			send_request(&one, now_ns());
			while (!receive(&one))
				;
		}
		printf("{\"connections\": %d}\n", count);
		fflush(stdout);
		while (getchar() != EOF)
			;
		return 0;
	}
	prctl(PR_SET_TIMERSLACK, 1000UL);
	for (int i = 0; i < count; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		open_connection(&all[i], port, 1);
		fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
		epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e);
	}
	usleep(200000);

	int64_t start = now_ns() + 1000000, end = start + seconds * 1e9;
	double interval = open_loop ? 1e9 / rate : 0;
	long total = open_loop ? rate * seconds : 0, next = 0, late = 0;
#define DUE(i) (start + (int64_t)((i) * interval))
	if (!open_loop)
		for (int i = 0; i < count; i++)
			send_request(&all[i], now_ns());
	while (open_loop ? answered < total : answered < sent) {
		int64_t now = now_ns(), wait = 100000000;
		if (now > end + 5000000000LL)
			break;
		if (open_loop) {
			for (; next < total && DUE(next) <= now; next++) {
				struct connection *c = &all[next % count];
				if (!c->busy) {
					send_request(c, DUE(next));
					continue;
				}
				if (!c->waiting++)
					c->next_waiting = next;
				late++;
			}
			if (next < total)
				wait = DUE(next) > now_ns() ? DUE(next) - now_ns() : 0;
		}
		struct epoll_event events[256];
		struct timespec timeout = {wait / 1000000000, wait % 1000000000};
		int ready = epoll_pwait2(epoll, events, 256, &timeout, NULL);
		for (int k = 0; k < ready; k++) {
			struct connection *c = &all[events[k].data.u32];
			if (!receive(c))
				continue;
			if (c->waiting) {
				send_request(c, DUE(c->next_waiting));
				c->waiting--;
				c->next_waiting += count;
			} else if (!open_loop && now_ns() < end) {
				send_request(c, now_ns());
			}
		}
	}
	double took = (now_ns() - start) / 1e9;
	printf("{\"requests\": %ld, \"not_200\": %ld, \"unanswered\": %ld, \"queued\": %ld, \"seconds\": %.3f, \"per_second\": %.1f, "
	       "\"p50_us\": %ld, \"p99_us\": %ld, \"p999_us\": %ld}\n",
	       answered, failed, (open_loop ? total : sent) - answered, late, took, answered / took, percentile(.5), percentile(.99),
	       percentile(.999));
	return 0;
}
