/* SPDX-License-Identifier: MIT
   log: one write a line, so that no two of them mix, whoever else writes there. What
   clients and hooks say is not to be trusted with a terminal. */
#include "balancer.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void say(const char *format, ...)
{
    char line[1024] = "balancer: ";
    size_t head = 10, room = sizeof line - head - 1;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + head, room, format, arguments);
    va_end(arguments);
    size_t end = head + (length < 0 ? 0 : (size_t)length < room ? (size_t)length : room - 1);
    for (size_t i = head; i < end; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = line[i] == '\t' ? ' ' : '?';      /* tracebacks have tabs */
    line[end] = '\n';
    (void)!write(STDERR_FILENO, line, end + 1);
}
