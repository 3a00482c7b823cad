/* SPDX-License-Identifier: MIT */
/*
 * wc_children.h - the processes that the launcher starts
 *
 * Signals that would end the launcher are not handled but waited for, together
 * with the ends of children, in children_next(); it then calls exit(3).
 */
#ifndef WC_CHILDREN_H
#define WC_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum child_kind { CHILD_READER, CHILD_WORKER, CHILD_REDUCER, CHILD_SHELL };

enum child_state { CHILD_RUNNING, CHILD_STOPPED, CHILD_ENDED };

/** struct child - a process; @well: it has ended with exit status 0 */
struct child {
	enum child_kind kind;
	enum child_state state;
	uint32_t number;
	pid_t pid;
	bool well;
};

/** children_begin() - from now on wait for signals; call it first */
void children_begin(void);

/**
 * child_start() - start a program, or exit
 * @argv:   the program and its arguments
 * @socket: to be its descriptor 3; -1: none
 *
 * A shell leads a process group, so that all it starts is ended with it.
 */
const struct child *child_start(
    enum child_kind kind, uint32_t number, char *const *argv, int socket);

/**
 * children_next() - wait until a child ends or stops
 * @ms: how long at most
 *
 * Prints how it ended if it did not end well.
 *
 * Return: the child; NULL: nothing has happened.
 */
const struct child *children_next(uint32_t ms);

/** children_running() - have not all of them ended? */
bool children_running(void);

/** children_failed() - how many of a kind have ended, and not well */
unsigned int children_failed(enum child_kind kind);

/** children_find() - a child of a kind, or NULL */
const struct child *children_find(enum child_kind kind, uint32_t number);

/** children_signal() - send a signal to all that have not ended */
void children_signal(int signal);

/** children_kill() - end them all, and wait until they have ended */
void children_kill(void);

/**
 * children_shell() - run a shell's command line, and wait for it
 * @argv: the shell, "-c", the command, its arguments
 *
 * Return: did it end well?
 */
bool children_shell(char *const *argv);

#endif
