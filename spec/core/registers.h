/* SPDX-License-Identifier: MIT
   registers: what only assembly can see, for the tests of the switch. One
   test program includes it. */
#ifndef FERN_TEST_REGISTERS_H
#define FERN_TEST_REGISTERS_H

#include <stdint.h>

/* unsigned clobbered_registers(void (*call)(void *), void *arg, uint64_t salt):
   fill every register that a called function must preserve from `salt`,
   call, and return a bit for each one that came back different. */
unsigned clobbered_registers(void (*call)(void *), void *arg, uint64_t salt);

#if defined(__x86_64__)

__asm__(
    ".text\n"
    ".globl clobbered_registers\n"
    ".type clobbered_registers, @function\n"
    "clobbered_registers:\n"
    "    push %rbp\n    push %rbx\n    push %r12\n"
    "    push %r13\n    push %r14\n    push %r15\n"
    "    push %rdx\n"
    "    lea 1(%rdx), %rbp\n    lea 2(%rdx), %rbx\n    lea 3(%rdx), %r12\n"
    "    lea 4(%rdx), %r13\n    lea 5(%rdx), %r14\n    lea 6(%rdx), %r15\n"
    "    mov %rdi, %rax\n"
    "    mov %rsi, %rdi\n"
    "    call *%rax\n"
    "    pop %rdx\n"
    "    xor %eax, %eax\n"
    ".macro compare_register register, number\n"
    "    lea \\number(%rdx), %rcx\n"
    "    cmp %rcx, \\register\n"
    "    je 1f\n"
    "    or $(1 << \\number), %eax\n"
    "1:\n"
    ".endm\n"
    "    compare_register %rbp, 1\n    compare_register %rbx, 2\n"
    "    compare_register %r12, 3\n    compare_register %r13, 4\n"
    "    compare_register %r14, 5\n    compare_register %r15, 6\n"
    "    pop %r15\n    pop %r14\n    pop %r13\n"
    "    pop %r12\n    pop %rbx\n    pop %rbp\n"
    "    ret\n"
    ".size clobbered_registers, . - clobbered_registers\n");

#elif defined(__aarch64__)

__asm__(
    ".text\n"
    ".globl clobbered_registers\n"
    ".type clobbered_registers, %function\n"
    "clobbered_registers:\n"
    "    stp x29, x30, [sp, #-176]!\n"
    "    stp x19, x20, [sp, #16]\n    stp x21, x22, [sp, #32]\n"
    "    stp x23, x24, [sp, #48]\n    stp x25, x26, [sp, #64]\n"
    "    stp x27, x28, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n      stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n   stp d14, d15, [sp, #144]\n"
    "    str x2, [sp, #160]\n"
    ".macro fill_register number\n"
    "    add x\\number, x2, #\\number\n"
    ".endm\n"
    ".macro fill_vector number\n"
    "    add x9, x2, #\\number\n"
    "    fmov d\\number, x9\n"
    ".endm\n"
    ".irp number, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n"
    "    fill_register \\number\n"
    ".endr\n"
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15\n"
    "    fill_vector \\number\n"
    ".endr\n"
    "    mov x9, x0\n"
    "    mov x0, x1\n"
    "    blr x9\n"
    "    ldr x2, [sp, #160]\n"
    "    mov w0, #0\n"
    ".macro compare_register number\n"
    "    add x9, x2, #\\number\n"
    "    cmp x9, x\\number\n"
    "    b.eq 1f\n"
    "    orr w0, w0, #(1 << \\number)\n"
    "1:\n"
    ".endm\n"
    ".macro compare_vector number\n"
    "    add x9, x2, #\\number\n"
    "    fmov x10, d\\number\n"
    "    cmp x9, x10\n"
    "    b.eq 1f\n"
    "    orr w0, w0, #(1 << \\number)\n"
    "1:\n"
    ".endm\n"
    ".irp number, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n"
    "    compare_register \\number\n"
    ".endr\n"
    ".irp number, 8, 9, 10, 11, 12, 13, 14, 15\n"
    "    compare_vector \\number\n"
    ".endr\n"
    "    ldp x19, x20, [sp, #16]\n    ldp x21, x22, [sp, #32]\n"
    "    ldp x23, x24, [sp, #48]\n    ldp x25, x26, [sp, #64]\n"
    "    ldp x27, x28, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n      ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n   ldp d14, d15, [sp, #144]\n"
    "    ldp x29, x30, [sp], #176\n"
    "    ret\n"
    ".size clobbered_registers, . - clobbered_registers\n");

#else

unsigned clobbered_registers(void (*call)(void *), void *arg, uint64_t salt)
{
    (void)salt;
    call(arg);
    return 0;
}

#endif

#endif
