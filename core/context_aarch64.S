/* SPDX-License-Identifier: MIT
   context: the switch for aarch64, AAPCS64: x19 to x30 and the low halves
   of v8 to v15. x18 belongs to the platform and is left alone. */

        .text

/* void fern_context_swap(void **save_sp, void *load_sp) */
        .globl  fern_context_swap
        .hidden fern_context_swap
        .type   fern_context_swap, %function
        .p2align 4
fern_context_swap:
        .cfi_startproc
        hint    #34             /* bti c */
        stp     x29, x30, [sp, #-160]!
        .cfi_adjust_cfa_offset 160
        .cfi_rel_offset x29, 0
        .cfi_rel_offset x30, 8
        stp     x19, x20, [sp, #16]
        .cfi_rel_offset x19, 16
        .cfi_rel_offset x20, 24
        stp     x21, x22, [sp, #32]
        .cfi_rel_offset x21, 32
        .cfi_rel_offset x22, 40
        stp     x23, x24, [sp, #48]
        .cfi_rel_offset x23, 48
        .cfi_rel_offset x24, 56
        stp     x25, x26, [sp, #64]
        .cfi_rel_offset x25, 64
        .cfi_rel_offset x26, 72
        stp     x27, x28, [sp, #80]
        .cfi_rel_offset x27, 80
        .cfi_rel_offset x28, 88
        stp     d8, d9, [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        mov     x9, sp
        str     x9, [x0]
        mov     sp, x1          /* the same frame, on another stack */
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        ldp     x29, x30, [sp], #160
        .cfi_adjust_cfa_offset -160
        ret
        .cfi_endproc
        .size   fern_context_swap, . - fern_context_swap

/* Where the first switch to a context returns to: x19 is the argument, x20
   the entry, x29 0. The outermost frame, as on x86-64. */
        .globl  fern_context_start
        .hidden fern_context_start
        .type   fern_context_start, %function
        .p2align 4
fern_context_start:
        .cfi_startproc
        .cfi_undefined x30
        hint    #36             /* bti j */
        mov     x0, x19
        mov     x30, #0
        blr     x20
        brk     #1
        .cfi_endproc
        .size   fern_context_start, . - fern_context_start

/* Declare that both entry points have their landing pads. */
        .section .note.gnu.property, "a", %note
        .p2align 3
        .word   4, 16, 5
        .asciz  "GNU"
        .word   0xc0000000, 4, 1, 0

        .section .note.GNU-stack,"",%progbits
