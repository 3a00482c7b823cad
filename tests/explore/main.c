/* SPDX-License-Identifier: MIT */
/*
 * main.c - the program of the explorer
 *
 * Each scenario, and each seed, is explored in a process of its own.
 */
#include "explore.h"

#include <stdio.h>
#include <sys/wait.h>

#define SCENARIOS_MAX 128

static const struct xp_scenario *scenarios[SCENARIOS_MAX + 1];

void xp_add(const struct xp_scenario *s)
{
	uint32_t i = 0;

	while (scenarios[i])
		i++;
	if (i == SCENARIOS_MAX)
		abort();
	scenarios[i] = s;
}

static const char usage[] =
    "usage: explore [--full] [--table] [SCENARIO[/SEED]]...\n"
    "       explore [--full] --show SCENARIO[/SEED]   the failing schedule\n"
    "       explore [--full] --replay SCHEDULE SCENARIO[/SEED]\n"
    "       explore --list\n"
    "\n"
    "Explore the scenarios (all of them, or those whose names begin so), then\n"
    "each of their seeds, which must be found. --full: no seeds, larger bounds;\n"
    "--bounds P,D,T,B: preemptions (0: any), deaths, timeouts, and stores in a\n"
    "buffer (1 to 8). --table: as rows of a table. --plain: compare with what is\n"
    "found without ending where a state has been seen before.\n";

static bool full, table, show, plain;
static struct xp_bounds given;
static const char *replay;
static int bad;
static struct xp_result *found; /* by the last one */

static struct xp_bounds bounds_of(const struct xp_scenario *s)
{
	static const struct xp_bounds usual = {.deaths = 1, .buffer = 4},
				      larger = {.deaths = 2,
					  .timeouts = 1,
					  .buffer = 6};
	bool own = s->bounds.buffer;

	if (given.buffer)
		return given;
	if (full)
		return s->full.buffer ? s->full : own ? s->bounds : larger;
	return own ? s->bounds : usual;
}

static const char *bound(uint32_t n, char text[12])
{
	snprintf(text, 12, "%u", n);
	return n ? text : "any";
}

/* Why it failed, without the line, for a table. */
static const char *plain_text(char *why)
{
	char *text = strstr(why, ": ");

	for (char *c = why; *c; c++)
		if (*c == '|')
			*c = '/';
	return text ? text + 2 : why;
}

static void report(const struct xp_scenario *s, const struct xp_seed *seed,
    const struct xp_bounds *b, struct xp_result *r)
{
	char text[12];

	if (table && !seed)
		printf("| %s | %u | %s | %u | %u | %u | %llu | %llu | %llu | "
		       "%llu | %u | %.1f |\n",
		    s->name, s->threads, bound(b->preemptions, text), b->deaths,
		    b->timeouts, b->buffer, (unsigned long long)r->words,
		    (unsigned long long)r->executions,
		    (unsigned long long)r->points,
		    (unsigned long long)r->states, r->longest, r->seconds);
	else if (table)
		printf("| %s | %s | `%s` | `%s` | %llu | %s |\n", s->name,
		    seed->name, seed->function, seed->word,
		    (unsigned long long)r->executions, plain_text(r->why));
	else if (!seed)
		printf("%-18s %u threads; preemptions %s, deaths %u, timeouts "
		       "%u, buffer %u: %llu words, %llu executions, %llu "
		       "points, %llu states, %llu ends, %u steps, %.1f s\n",
		    s->name, s->threads, bound(b->preemptions, text), b->deaths,
		    b->timeouts, b->buffer, (unsigned long long)r->words,
		    (unsigned long long)r->executions,
		    (unsigned long long)r->points,
		    (unsigned long long)r->states, (unsigned long long)r->ends,
		    r->longest, r->seconds);
	else if (r->failed)
		printf("  seed \"%s\" found after %llu executions: %s\n",
		    seed->name, (unsigned long long)r->executions, r->why);
	if (r->failed == (seed != NULL) && !show)
		return;
	if (seed && !r->failed) {
		printf("  seed \"%s\" in %s(), %s: %s (%llu executions)\n",
		    seed->name, seed->function, seed->word,
		    r->seed_used ? "NOT FOUND" : "NEVER MET",
		    (unsigned long long)r->executions);
		bad++;
	} else if (!seed) {
		printf("FAILED: %s\n", r->why);
		bad++;
	} else if (r->executions == 0) {
		printf("FAILED before it began: %s\n", r->why);
		bad++;
	}
	if (r->schedule)
		printf("schedule, for --replay: %s\n", r->schedule);
}

/* In a process of its own: what it finds out is its own. */
static void explore(const struct xp_scenario *s, const struct xp_seed *seed)
{
	struct xp_bounds b = bounds_of(s);
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (pid == 0) {
		bad = 0;
		xp_explore(found, s, &b, seed, replay, show || !seed);
		report(s, seed, &b, found);
		fflush(NULL);
		_exit(bad);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
		printf("%s: ended by a signal\n", s->name);
		bad++;
	} else {
		bad += WEXITSTATUS(status);
	}
}

/* Is nothing missed by ending where a state was seen before? */
static void compare(const struct xp_scenario *s)
{
	uint64_t ends;

	explore(s, NULL);
	ends = found->ends;
	xp_plain = true;
	explore(s, NULL);
	xp_plain = false;
	if (found->ends != ends) {
		printf("FAILED: %llu ends, without looking at states %llu\n",
		    (unsigned long long)ends, (unsigned long long)found->ends);
		bad++;
	}
}

/* "name", "begin of name", "name/seed"; NULL: all. */
static bool chosen(
    const char *what, const struct xp_scenario *s, const struct xp_seed *seed)
{
	size_t n;

	if (!what)
		return true;
	n = strcspn(what, "/");
	if (what[n] == '\0')
		return strncmp(what, s->name, n) == 0;
	return seed && strlen(s->name) == n && strncmp(what, s->name, n) == 0 &&
	       strcmp(what + n + 1, seed->name) == 0;
}

static int run(const char *what)
{
	int count = 0;

	for (uint32_t i = 0; scenarios[i]; i++) {
		const struct xp_scenario *s = scenarios[i];
		const struct xp_seed *seed = s->seeds;

		if (chosen(what, s, NULL) && plain) {
			compare(s);
			count++;
			continue;
		}
		if (chosen(what, s, NULL)) {
			explore(s, NULL);
			count++;
		}
		if (full || (show && !strchr(what, '/')))
			continue;
		for (; seed && seed->function; seed++)
			if (chosen(what, s, seed)) {
				explore(s, seed);
				count++;
			}
	}
	return count;
}

int main(int argc, char **argv)
{
	int i = 1;

	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--full") == 0) {
			full = true;
		} else if (strcmp(argv[i], "--plain") == 0) {
			plain = true;
		} else if (strcmp(argv[i], "--bounds") == 0 && i + 1 < argc) {
			if (sscanf(argv[++i], "%u,%u,%u,%u", &given.preemptions,
				&given.deaths, &given.timeouts,
				&given.buffer) != 4 ||
			    given.buffer == 0 || given.buffer > XP_BUFFER_MAX) {
				fputs(usage, stderr);
				return 2;
			}
		} else if (strcmp(argv[i], "--table") == 0) {
			table = true;
		} else if (strcmp(argv[i], "--show") == 0 && i + 2 == argc) {
			show = true;
		} else if (strcmp(argv[i], "--replay") == 0 && i + 3 == argc) {
			show = true;
			replay = argv[++i];
		} else if (strcmp(argv[i], "--list") == 0) {
			for (i = 0; scenarios[i]; i++)
				printf("%-18s %s\n", scenarios[i]->name,
				    scenarios[i]->what);
			return 0;
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (i == argc && run(NULL) == 0)
		return 2;
	for (; i < argc; i++)
		if (run(argv[i]) == 0) {
			fprintf(
			    stderr, "explore: no scenario \"%s\"\n", argv[i]);
			return 2;
		}
	return bad != 0;
}
