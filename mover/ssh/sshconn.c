/* SPDX-License-Identifier: Apache-2.0 */
#include "sshconn.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/server.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "netdial.h"
#include "text.h"

enum { CLOSE_LAST_MS = 20, CLOSE_FLUSH_MS = 200, UNREAD_MIN = 64 << 10 };

struct sshconn *sshconn_of(struct transport *t)
{
	return (struct sshconn *)(void *)t;
}

static void broken(struct sshconn *c, const char *why)
{
	if (!c->broken)
		c->why = why;
	c->broken = true;
}

const char *sshconn_error(struct sshconn *c, char *out, size_t cap)
{
	const char *text = c->session ? ssh_get_error(c->session) : "";
	return text_escape(out, cap, text, strlen(text));
}

int sshconn_failed(struct sshconn *c, const char *step, const char *who, bool spoke, struct err *e)
{
	char text[TEXT_ESCAPED_MAX];
	sshconn_error(c, text, sizeof text);
	if (strstr(text, "kex error"))
		return err_set(e, ERR_PROTOCOL, "%s: no common algorithm with %s: %s", step, who,
			       text);
	if ((!spoke && c->socket_counter.in_bytes > 0) || strstr(text, "No version of SSH"))
		return err_set(e, ERR_PROTOCOL, "%s: %s does not speak SSH: %s", step, who, text);
	if (strstr(text, "SSH_MSG_DISCONNECT") || strstr(text, "Socket error") ||
	    (!*text && net_is_closed(c->fd)))
		return err_set(e, ERR_CONNECT, "%s: %s ended the connection: %s", step, who, text);
	return err_set(e, ERR_PROTOCOL, "%s: %s: %s", step, who, text);
}

/* Receiving */

/* Appends to the unread bytes, which are empty most of the time. */
static void keep_unread(struct sshconn *c, const uint8_t *p, size_t n)
{
	if (!c->unread_len)
		c->unread_at = 0;
	if (c->unread_at + c->unread_len + n > c->unread_cap) {
		if (c->unread_at)
			memmove(c->unread, c->unread + c->unread_at, c->unread_len);
		c->unread_at = 0;
		size_t cap = c->unread_cap ? c->unread_cap : UNREAD_MIN;
		while (cap < c->unread_len + n)
			cap *= 2;
		if (cap != c->unread_cap)
			c->unread = mem_realloc(c->unread, cap, 1);
		c->unread_cap = cap;
	}
	memcpy(c->unread + c->unread_at + c->unread_len, p, n);
	c->unread_len += n;
}

static int on_data(ssh_session session, ssh_channel channel, void *data, uint32_t len,
		   int is_stderr, void *userdata)
{
	(void)session;
	(void)channel;
	struct sshconn *c = userdata;
	const uint8_t *p = data;
	size_t n = len;
	c->since_window += n;
	if (is_stderr) {
		linecap_feed(&c->errors, p, n);
	} else if (!c->discard) {
		size_t direct = c->unread_len ? 0 : c->dest_cap - c->dest_len;
		if (direct > n)
			direct = n;
		if (direct)
			memcpy(c->dest + c->dest_len, p, direct);
		c->dest_len += direct;
		if (n > direct)
			keep_unread(c, p + direct, n - direct);
	}
	return (int)len;
}

static void on_eof(ssh_session session, ssh_channel channel, void *userdata)
{
	(void)session;
	(void)channel;
	struct sshconn *c = userdata;
	c->eof = true;
	linecap_flush(&c->errors);
}

static void on_close(ssh_session session, ssh_channel channel, void *userdata)
{
	struct sshconn *c = userdata;
	on_eof(session, channel, userdata);
	c->closed = true;
}

static void on_exit_status(ssh_session session, ssh_channel channel, int status, void *userdata)
{
	(void)session;
	(void)channel;
	struct sshconn *c = userdata;
	c->exit.known = true;
	c->exit.status = status;
}

static void on_exit_signal(ssh_session session, ssh_channel channel, const char *sig, int core,
			   const char *message, const char *lang, void *userdata)
{
	(void)session;
	(void)channel;
	(void)core;
	(void)message;
	(void)lang;
	struct sshconn *c = userdata;
	c->exit.known = true;
	c->exit.status = -1;
	text_escape(c->exit.signal, sizeof c->exit.signal, sig ? sig : "", sig ? strlen(sig) : 0);
}

/*
 * libssh 0.10 raises its receive window to the count that a read asks for, and lets it sink to a
 * few hundred KiB otherwise, which at 50 ms of round trip is 13 MB/s instead of 300. The read is
 * given real address space of that size, of which no page is touched: the data callback has taken
 * everything before the read looks.
 */
static void raise_window(struct sshconn *c)
{
	c->since_window = 0;
	int n = ssh_channel_read(c->channel, c->window, TRANSPORT_READ_HINT, 0);
	if (n > 0)
		keep_unread(c, c->window, (size_t)n);
}

/* Bytes ever put into libssh's out buffer, about: the counter leaves out what encryption adds. */
static uint64_t sent_total(const struct sshconn *c)
{
	enum { PACKET_OVERHEAD = 40 };
	return c->packet_counter.out_bytes + c->packet_counter.out_packets * PACKET_OVERHEAD;
}

bool sshconn_has_unsent(struct sshconn *c)
{
	bool unsent = (ssh_get_status(c->session) & SSH_WRITE_PENDING) != 0;
	if (!unsent)
		c->sent_flushed = sent_total(c);
	return unsent;
}

/*
 * While session keys are exchanged libssh puts aside what it is given, out of sight of its status.
 * What was written is still owed until as many bytes have left.
 */
static bool is_put_aside(struct sshconn *c)
{
	if (c->owed && c->packet_counter.out_bytes - c->owed_since >= c->owed)
		c->owed = 0;
	return c->owed != 0;
}

static void note_put_aside(struct sshconn *c, const struct ssh_counter_struct *before, int put)
{
	if (put <= 0 || c->packet_counter.out_packets != before->out_packets)
		return;
	c->owed = (uint64_t)put;
	c->owed_since = before->out_bytes;
}

void sshconn_pump(struct sshconn *c)
{
	if (c->broken || c->unread_len >= SSHCONN_UNREAD_MAX)
		return;
	uint64_t in = c->socket_counter.in_bytes;
	if (c->channel && !c->eof && c->since_window >= SSHCONN_WINDOW_STEP)
		raise_window(c);
	else
		(void)ssh_execute_message_callbacks(c->session);
	c->base.socket_in = c->socket_counter.in_bytes;
	c->base.socket_out = c->socket_counter.out_bytes;
	if (c->socket_counter.in_bytes != in)
		c->stalled = false;
	if (ssh_get_status(c->session) & (SSH_CLOSED | SSH_CLOSED_ERROR)) {
		linecap_flush(&c->errors);
		broken(c, NULL);
	} else if (sshconn_has_unsent(c) && sent_total(c) - c->sent_flushed > SSHCONN_REPLIES_MAX) {
		broken(c, "the other side sends requests and does not read the answers");
	}
}

/* The connection's end as an error: what libssh says, else what we found. */
static int lost(struct sshconn *c, struct err *e)
{
	char text[TEXT_ESCAPED_MAX];
	if (c->why)
		return err_set(e, ERR_PROTOCOL, "%s: %s", c->base.peer, c->why);
	sshconn_error(c, text, sizeof text);
	bool timed_out = strstr(text, strerrordesc_np(ETIMEDOUT)) != NULL;
	return err_set(e, timed_out ? ERR_TIMEOUT : ERR_CONNECT, "connection to %s lost: %s",
		       c->base.peer, *text ? text : "closed");
}

static size_t take_unread(struct sshconn *c, uint8_t *p, size_t n)
{
	if (n > c->unread_len)
		n = c->unread_len;
	if (n)
		memcpy(p, c->unread + c->unread_at, n);
	c->unread_at += n;
	c->unread_len -= n;
	return n;
}

static ssize_t conn_read(struct transport *t, void *p, size_t n, bool *eof, struct err *e)
{
	struct sshconn *c = sshconn_of(t);
	*eof = false;
	c->dest = p;
	c->dest_len = take_unread(c, p, n);
	c->dest_cap = n;
	/* libssh receives 4 KiB at a time: go on for as long as there is more. */
	while (c->dest_len < n && !c->broken && !c->closed) {
		uint64_t in = c->socket_counter.in_bytes;
		sshconn_pump(c);
		if (c->socket_counter.in_bytes == in)
			break;
	}
	size_t got = c->dest_len;
	c->dest = NULL;
	c->dest_len = 0;
	c->dest_cap = 0;
	if (got)
		return (ssize_t)got;
	if (c->unread_len || (!c->broken && !c->eof))
		return 0;
	if (!c->eof)
		return lost(c, e);
	*eof = true;
	c->eof_told = true;
	return err_set(e, ERR_CONNECT, "%s: end of stream", t->peer);
}

/* Sending */

/* True if libssh may be given data: all before is with the kernel, and the peer's window is open.
 */
static bool can_take(struct sshconn *c)
{
	return !is_put_aside(c) && !sshconn_has_unsent(c) &&
	       ssh_channel_window_size(c->channel) > 0;
}

static ssize_t conn_write(struct transport *t, const void *p, size_t n, struct err *e)
{
	struct sshconn *c = sshconn_of(t);
	if (c->broken)
		return lost(c, e);
	if (c->ended || c->closed)
		return err_set(e, ERR_CONNECT, "%s: the stream was %s", t->peer,
			       c->ended ? "shut down" : "closed by the other side");
	if (!n || !can_take(c)) {
		sshconn_pump(c);
		if (c->broken)
			return lost(c, e);
		if (!n || c->closed || !can_take(c))
			return 0;
	}
	uint32_t window = ssh_channel_window_size(c->channel);
	if (n > SSHCONN_WRITE_MAX)
		n = SSHCONN_WRITE_MAX;
	if (n > window)
		n = window;
	struct ssh_counter_struct before = c->packet_counter;
	int put = ssh_channel_write(c->channel, p, (uint32_t)n);
	note_put_aside(c, &before, put);
	c->base.socket_in = c->socket_counter.in_bytes;
	c->base.socket_out = c->socket_counter.out_bytes;
	if (put >= 0) {
		c->stalled = put == 0;
		return put;
	}
	/* The peer may have closed while this was on its way; a real failure shows in the status.
	 */
	if (c->closed && !(ssh_get_status(c->session) & (SSH_CLOSED | SSH_CLOSED_ERROR)))
		return err_set(e, ERR_CONNECT, "%s: the stream was closed by the other side",
			       t->peer);
	broken(c, NULL);
	return lost(c, e);
}

static int conn_pollfds(struct transport *t, struct pollfd *fds, bool want_write)
{
	struct sshconn *c = sshconn_of(t);
	int n = 0;
	/* What is already here, or can never come, must not be waited for. */
	if (c->unread_len || c->broken || (c->eof && !c->eof_told) || (c->closed && want_write))
		fds[n++] = (struct pollfd){.fd = c->wake, .events = POLLIN};
	if (c->broken)
		return n;
	bool may_write = want_write && !c->ended && !c->closed && !c->stalled;
	short events = POLLIN;
	if (sshconn_has_unsent(c) || (may_write && can_take(c)))
		events |= POLLOUT;
	fds[n++] = (struct pollfd){.fd = c->fd, .events = events};
	return n;
}

/* Bytes that TCP has not seen acknowledged; 0 where that cannot be told. */
static bool kernel_has_unsent(const struct sshconn *c)
{
	int bytes = 0;
	return ioctl(c->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

void sshconn_drain(struct sshconn *c, int64_t deadline_ms)
{
	enum { STEP_MS = 5 };
	for (;;) {
		sshconn_pump(c);
		bool unsent = !c->broken && sshconn_has_unsent(c);
		if (c->broken || (!unsent && !is_put_aside(c) && !kernel_has_unsent(c)))
			return;
		int64_t left = deadline_ms - net_now_ms();
		if (left <= 0)
			return;
		struct pollfd fd = {.fd = c->fd, .events = POLLIN};
		if (unsent)
			fd.events |= POLLOUT;
		/* Acknowledgements wake nobody, so their wait is short. */
		(void)poll(&fd, 1, left < STEP_MS ? (int)left : STEP_MS);
	}
}

void sshconn_linger(struct sshconn *c, int64_t deadline_ms)
{
	sshconn_drain(c, deadline_ms);
	c->discard = true;
	c->unread_len = 0;
	while (!c->broken && sshconn_wait(c, deadline_ms, -1, NULL) == 0)
		sshconn_pump(c);
}

static void conn_shutdown(struct transport *t, int timeout_ms)
{
	struct sshconn *c = sshconn_of(t);
	if (!c->broken && !c->ended && !c->closed)
		(void)ssh_channel_send_eof(c->channel);
	c->ended = true;
	sshconn_drain(c, net_now_ms() + timeout_ms);
}

/* The dialling side lets the other one close first, so that what it says last is counted too. One
 * that does not close (sshd keeps the connection) is not waited for much longer than its channel.
 */
static void hear_out(struct sshconn *c)
{
	int64_t until = net_now_ms() + CLOSE_FLUSH_MS;
	bool closed = false;
	while (!c->broken && net_now_ms() < until && sshconn_wait(c, until, -1, NULL) == 0) {
		sshconn_pump(c);
		if (c->closed && !closed) {
			closed = true;
			until = net_now_ms() + CLOSE_LAST_MS;
		}
	}
}

/* The farewell belongs to the counted bytes. */
static void conn_close(struct transport *t)
{
	struct sshconn *c = sshconn_of(t);
	if (c->session && c->channel && !c->broken) {
		c->discard = true;
		if (!c->extra)
			hear_out(c);
		if (!c->closed)
			(void)ssh_channel_close(c->channel);
		sshconn_drain(c, net_now_ms() + CLOSE_FLUSH_MS);
	}
	if (c->session && !c->farewell) {
		ssh_disconnect(c->session);
		c->farewell = c->broken = true;
		c->channel = NULL;
	}
	t->socket_in = c->socket_counter.in_bytes;
	t->socket_out = c->socket_counter.out_bytes;
}

static void conn_free(struct transport *t)
{
	sshconn_free(sshconn_of(t));
}

static const struct transport_ops conn_ops = {
	.pollfds = conn_pollfds,
	.read = conn_read,
	.write = conn_write,
	.shutdown = conn_shutdown,
	.close = conn_close,
	.free = conn_free,
};

/* Life */

struct sshconn *sshconn_new(int fd, int socket_buffer, struct err *e)
{
	struct sshconn *c = mem_alloc(1, sizeof *c);
	c->base.ops = &conn_ops;
	c->exit.status = -1;
	c->fd = fd;
	c->lib_fd = -1;
	net_peer_text(fd, c->base.peer);
	linecap_init(&c->errors, SSH_STDERR_KEPT);
	c->wake = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	c->session = ssh_new();
	c->window = mmap(NULL, TRANSPORT_READ_HINT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->window == MAP_FAILED)
		c->window = NULL;
	if (c->wake < 0 || !c->session || !c->window) {
		err_sys(e, ERR_FAILURE, "setting up a connection");
		sshconn_free(c);
		return NULL;
	}
	if (net_tune(fd, socket_buffer, e) < 0) {
		sshconn_free(c);
		return NULL;
	}
	ssh_set_blocking(c->session, 0);
	ssh_set_counters(c->session, &c->socket_counter, &c->packet_counter);
	return c;
}

int sshconn_dup_fd(struct sshconn *c, struct err *e)
{
	c->lib_fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
	return c->lib_fd < 0 ? err_sys(e, ERR_FAILURE, "duplicating a socket") : c->lib_fd;
}

/*
 * libssh closes a socket that it was given after some errors and leaves it open after others.
 * Closing a number that is somebody else's by now would be worse than a leak, so identity decides.
 */
static void close_lib_fd(struct sshconn *c)
{
	struct stat theirs, ours;
	if (c->lib_fd >= 0 && fstat(c->lib_fd, &theirs) == 0 && fstat(c->fd, &ours) == 0 &&
	    theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
		close(c->lib_fd);
}

void sshconn_free(struct sshconn *c)
{
	if (!c)
		return;
	if (c->session && c->channel && !c->broken) {
		c->discard = true;
		if (!(c->ended && c->closed))
			(void)ssh_channel_close(c->channel);
		sshconn_drain(c, net_now_ms() + CLOSE_FLUSH_MS);
	}
	if (c->session) {
		if (!c->farewell)
			ssh_disconnect(c->session);
		ssh_free(c->session);
	}
	close_lib_fd(c);
	if (c->window)
		munmap(c->window, TRANSPORT_READ_HINT);
	if (c->fd >= 0)
		close(c->fd);
	if (c->wake >= 0)
		close(c->wake);
	linecap_release(&c->errors);
	free(c->unread);
	free(c->extra);
	free(c);
}

int sshconn_options(struct sshconn *c, const char *ciphers, uint64_t rekey_bytes, struct err *e)
{
	static const int rsa_min = SSHKEYS_RSA_BITS_MIN;
	static const bool off = false;
	ssh_session s = c->session;
	char shown[TEXT_ESCAPED_MAX];
	if (!ciphers || !*ciphers)
		ciphers = SSH_CIPHERS_DEFAULT;
	if (ssh_options_set(s, SSH_OPTIONS_CIPHERS_C_S, ciphers) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_CIPHERS_S_C, ciphers) < 0)
		return err_set(e, ERR_USAGE, "--cipher: no cipher of this list is known: %s",
			       text_escape(shown, sizeof shown, ciphers, strlen(ciphers)));
	if (ssh_options_set(s, SSH_OPTIONS_PROCESS_CONFIG, &off) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_KEY_EXCHANGE, SSHKEYS_KEX) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_HMAC_C_S, SSHKEYS_HMAC) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_HMAC_S_C, SSHKEYS_HMAC) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_COMPRESSION, "no") < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_RSA_MIN_SIZE, &rsa_min) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES, SSHKEYS_USER_ALGORITHMS) < 0 ||
	    (rekey_bytes && ssh_options_set(s, SSH_OPTIONS_REKEY_DATA, &rekey_bytes) < 0))
		return err_set(e, ERR_FAILURE, "libssh refuses an option: %s",
			       sshconn_error(c, shown, sizeof shown));
	return 0;
}

int sshconn_attach(struct sshconn *c, ssh_channel channel)
{
	c->channel = channel;
	c->callbacks.userdata = c;
	c->callbacks.channel_data_function = on_data;
	c->callbacks.channel_eof_function = on_eof;
	c->callbacks.channel_close_function = on_close;
	c->callbacks.channel_exit_status_function = on_exit_status;
	c->callbacks.channel_exit_signal_function = on_exit_signal;
	ssh_callbacks_init(&c->callbacks);
	return ssh_set_channel_callbacks(channel, &c->callbacks) == SSH_OK ? 0 : -1;
}

int sshconn_ready(struct sshconn *c, struct err *e)
{
	ssh_set_blocking(c->session, 0);
	if (net_set_nonblocking(c->fd, e) < 0)
		return -1;
	const char *cipher = ssh_get_cipher_out(c->session);
	snprintf(c->cipher, sizeof c->cipher, "%s", cipher ? cipher : "");
	c->base.handshake_in = c->socket_counter.in_bytes;
	c->base.handshake_out = c->socket_counter.out_bytes;
	c->since_window = SSHCONN_WINDOW_STEP;
	sshconn_pump(c);
	return 0;
}

int sshconn_wait(struct sshconn *c, int64_t deadline_ms, int cancel_fd, struct err *e)
{
	/* Blocking mode comes back when libssh sees the connection established. */
	if (net_set_nonblocking(c->fd, e) < 0)
		return -1;
	short events = POLLIN;
	if (ssh_get_poll_flags(c->session) & SSH_WRITE_PENDING)
		events |= POLLOUT;
	return net_wait(c->fd, events, deadline_ms, cancel_fd, e);
}
