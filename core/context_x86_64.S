/* SPDX-License-Identifier: MIT
   context: the switch for x86-64, System V ABI.

   `ret`, not `pop; jmp`: threads that park at the same place return to the
   same address, and the return predictor stays in step with the frames
   above. No note of the shadow-stack property: we do not keep one. */

        .text

/* Saves the caller's registers and stack pointer through rdi. */
        .macro  save
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        movq    %rsp, (%rdi)
        .endm

/* Takes the stack at \sp, which has the same frame on it. */
        .macro  load sp
        movq    \sp, %rsp
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        .endm

        .macro  begin name
        .globl  \name
        .hidden \name
        .type   \name, @function
        .p2align 4
\name:
        .cfi_startproc
        endbr64
        .endm

        .macro  end name
        .cfi_endproc
        .size   \name, . - \name
        .endm

/* void fern_context_swap(void **save_sp, void *load_sp) */
        begin   fern_context_swap
        save
        load    %rsi
        ret
        end     fern_context_swap

/* void fern_context_launch(void **save_sp, void *load_sp): the first switch
   to a context. The jump leaves our caller's return address with the return
   predictor, for the switch that ends what begins here. */
        begin   fern_context_launch
        save
        load    %rsi
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rcx
        jmp     *%rcx
        end     fern_context_launch

/* void fern_context_leave(void *load_sp), jumped to: nothing is saved. */
        begin   fern_context_leave
        .cfi_adjust_cfa_offset 48
        load    %rdi
        ret
        end     fern_context_leave

/* The same to a context that never ran. */
        begin   fern_context_relay
        .cfi_adjust_cfa_offset 48
        load    %rdi
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rcx
        jmp     *%rcx
        end     fern_context_relay

/* Where the first switch to a context returns to: rbx is the argument, r12
   the entry, rbp 0. The frame is the outermost: its caller is undefined, so
   debuggers and backtrace() stop here. */
        .globl  fern_context_start
        .hidden fern_context_start
        .type   fern_context_start, @function
        .p2align 4
fern_context_start:
        .cfi_startproc
        .cfi_undefined rip
        .cfi_undefined rbp
        endbr64
        movq    %rbx, %rdi
        leaq    1f(%rip), %rcx
        pushq   %rcx            /* a call would set the predictor off by one */
        jmp     *%r12
1:      ud2
        .cfi_endproc
        .size   fern_context_start, . - fern_context_start

        .section .note.GNU-stack,"",@progbits
