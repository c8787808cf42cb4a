/* SPDX-License-Identifier: MIT
   step: a hub that a foreign loop steps. See fern_hub_step. */
#ifndef FERN_STEP_H
#define FERN_STEP_H

#include "fern.h"

/* As such a loop, once: wait until there is something to do, or `deadline`, and step. */
void fern_step_until(fern_hub *hub, double deadline);

#endif
