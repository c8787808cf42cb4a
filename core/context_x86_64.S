/* SPDX-License-Identifier: MIT
   context: the switch for x86-64, System V ABI.

   `ret`, not `pop; jmp`: threads that park at the same place return to the
   same address, and the return predictor stays in step with the frames
   above. No note of the shadow-stack property: we do not keep one. */

        .text

/* void fern_context_swap(void **save_sp, void *load_sp) */
        .globl  fern_context_swap
        .hidden fern_context_swap
        .type   fern_context_swap, @function
        .p2align 4
fern_context_swap:
        .cfi_startproc
        endbr64
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
        movq    %rsi, %rsp      /* the same frame, on another stack */
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
        ret
        .cfi_endproc
        .size   fern_context_swap, . - fern_context_swap

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
        call    *%r12
        ud2
        .cfi_endproc
        .size   fern_context_start, . - fern_context_start

        .section .note.GNU-stack,"",@progbits
