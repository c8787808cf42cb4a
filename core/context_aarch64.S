/* SPDX-License-Identifier: MIT
   context: the switch for aarch64, AAPCS64: x19 to x30 and the low halves
   of v8 to v15. x18 belongs to the platform and is left alone. */

        .text

/* Saves the caller's registers and stack pointer through x0. */
        .macro  save
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
        .endm

/* Takes the stack at \from, which has the same frame on it. */
        .macro  load from
        mov     sp, \from
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
        .endm

        .macro  begin name
        .globl  \name
        .hidden \name
        .type   \name, %function
        .p2align 4
\name:
        .cfi_startproc
        hint    #34             /* bti c */
        .endm

        .macro  end name
        .cfi_endproc
        .size   \name, . - \name
        .endm

/* void fern_context_swap(void **save_sp, void *load_sp) */
        begin   fern_context_swap
        save
        load    x1
        ret
        end     fern_context_swap

/* void fern_context_launch(void **save_sp, void *load_sp): the first switch
   to a context. The branch leaves our caller's return address with the
   return predictor, for the switch that ends what begins here. */
        begin   fern_context_launch
        save
        load    x1
        mov     x16, x30
        br      x16
        end     fern_context_launch

/* void fern_context_leave(void *load_sp), branched to: nothing is saved. */
        begin   fern_context_leave
        .cfi_adjust_cfa_offset 160
        load    x0
        ret
        end     fern_context_leave

/* The same to a context that never ran. */
        begin   fern_context_relay
        .cfi_adjust_cfa_offset 160
        load    x0
        mov     x16, x30
        br      x16
        end     fern_context_relay

/* Where the first switch to a context returns to: x19 is the argument, x20
   the entry, x29 0. The outermost frame, as on x86-64. */
        .globl  fern_context_start
        .hidden fern_context_start
        .type   fern_context_start, %function
        .p2align 4
fern_context_start:
        .cfi_startproc
        .cfi_undefined x30
        hint    #38             /* bti jc */
        mov     x0, x19
        mov     x16, x20
        adr     x30, 1f         /* a call would set the predictor off by one */
        br      x16
1:      brk     #1
        .cfi_endproc
        .size   fern_context_start, . - fern_context_start

/* Declare that both entry points have their landing pads. */
        .section .note.gnu.property, "a", %note
        .p2align 3
        .word   4, 16, 5
        .asciz  "GNU"
        .word   0xc0000000, 4, 1, 0

        .section .note.GNU-stack,"",%progbits
