/* The event loop: file descriptors, timers, signals, and work that comes home. Over libuv. */
#pragma once
#include "agent/base/pool.h"
#include <stdint.h>

/* Everything but loop_post's submit and loop_stop belongs to the thread that runs the loop. */
struct loop;
struct loop *loop_new(struct err *err) MUST;
/* All watches, timers and signals must have been freed before. */
void loop_free(struct loop *loop);
OWN_DEFINE(loop, struct loop, loop_free);
/* Returns after loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* from any thread */
/* Where a lane's work comes home to; submit works from any thread. */
struct post *loop_post(struct loop *loop);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct watch;
/* Calls fn with the events that are ready (level-triggered; an error shows as both). */
struct watch *watch_new(struct loop *loop, int fd, void (*fn)(void *arg, int events), void *arg,
                        struct err *err) MUST;
bool watch_set(struct watch *watch, int events, struct err *err) MUST; /* 0 pauses */
void watch_free(struct watch *watch); /* before the descriptor is closed; NULL is fine */

struct timer;
struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg, struct err *err) MUST;
void timer_set(struct timer *timer, uint64_t after_ms, uint64_t every_ms); /* every 0: once */
void timer_stop(struct timer *timer);
void timer_free(struct timer *timer);

struct signal_watch;
struct signal_watch *signal_watch_new(struct loop *loop, int signal_no,
                                      void (*fn)(void *arg, int signal_no), void *arg,
                                      struct err *err) MUST;
void signal_watch_free(struct signal_watch *watch);
