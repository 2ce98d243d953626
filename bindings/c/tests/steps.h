/* The steps of a shared case, and their session. */
#ifndef STEPS_H
#define STEPS_H

#include <cjson/cJSON.h>

#define WHY_SIZE 1024

/* The vault that the environment names, opened with a new signing key, and what the current case has saved. */
struct session;

/* Ends the program with a message if the vault cannot be opened, since no case could run then. */
struct session *session_open(void);
void session_close(struct session *session);

/* Forgets what the previous case has saved and opened. */
void start_case(struct session *session);

/* Return 0, or -1 with the reason in `why`. */
int run_step(struct session *session, const cJSON *step, char why[WHY_SIZE]);
int run_verification(const cJSON *verify, char why[WHY_SIZE]);

#endif
