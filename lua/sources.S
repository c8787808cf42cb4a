/* SPDX-License-Identifier: MIT
   sources: the text of every file of lua/fern, in the form that lsources.c reads. The
   Makefile writes sources.inc: a line `source "fern/net.lua"` for each. */
        .macro  source path
        .4byte  2f - 1f
        .asciz  "\path"
1:      .incbin "lua/\path"
2:
        .endm

        .section .rodata
        .globl  lsources_begin
        .hidden lsources_begin
        .type   lsources_begin, %object
lsources_begin:
#include "sources.inc"
        .4byte  0
        .asciz  ""
        .size   lsources_begin, . - lsources_begin

        .section .note.GNU-stack,"",%progbits
