/* The steps of a shared case, and what they work on. */
#ifndef STEPS_H
#define STEPS_H

#include <cjson/cJSON.h>

#define WHY_SIZE 1024

/* The vault that the environment names, opened with a fresh signing key, and what the current case has saved. */
struct session;

/* Ends the program with a message where the vault does not open: no case could run then. */
struct session *session_open(void);
void session_close(struct session *session);

/* Forgets what the case before has saved and opened. */
void begin_case(struct session *session);

/* 0, or -1 with the reason in `why`. */
int run_step(struct session *session, const cJSON *step, char why[WHY_SIZE]);
int run_verification(const cJSON *verify, char why[WHY_SIZE]);

#endif
