#!/usr/bin/env python3
"""Prints an upper bound of the stack of a firmware image for Cortex-M or 32-bit RISC-V, from its disassembly.

    objdump --disassemble --no-show-raw-insn IMAGE | tools/stack_bound.py [--path] [--twice] [INTERRUPT...]

A function takes what it pushes and subtracts, and the deepest of the functions that it calls. A call through a pointer can reach every
function that is never called by name, so it takes the deepest of these; an executor of embassy reaches its tasks, and nothing else does. What is
reached through a pointer may call through pointers too: NESTED deep. Calls of a panic do not return and are left out. Interrupts that
preempt each other come on top: each takes its own bound. A recursive function, or a frame whose size is no number, is an error: there is no
bound then.

INTERRUPT is one in which an executor runs, which then may run every task. --twice is for a HAL that dispatches its interrupts by tables: the
thread's bound counts a second time, for an executor in an interrupt. With --path the deepest path is printed, so that a reader can judge it.
"""
import re
import sys

# Calls through pointers within calls through pointers, below the executor's of a task: a waker that pends an executor.
NESTED = 2
TASK = re.compile(r"embassy_executor.*TaskStorage.*poll")
EXECUTOR = re.compile(r"embassy_executor|esp_rtos.*embassy")
# Bytes that the processor pushes at an interrupt: eight words and, with floating point, seventeen more and one to align.
EXCEPTION_BYTES = 108
# Not the assembler's own labels.
HEAD = re.compile(r"^[0-9a-f]+ <((?!\.L).*)>:$")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(\S+)\s*(.*)$")
TARGET = re.compile(r"<(.*?)(\+0x[0-9a-f]+)?>\s*$")
PANICS = re.compile(r"panic|unwrap_failed|expect_failed|slice_.*_fail|::fail\b|UserHardFault|HardFault|ExceptionHandler|abort")
# Sets the stack pointer, so that it takes nothing of the stack.
START = re.compile(r"_start$|_abs_start$|Reset$|main$|_pre_default_start_trap")
# An interrupt's handler on a Cortex-M.
INTERRUPT = re.compile(r"^[A-Z][A-Z0-9_]*$")


def registers(text):
    """Returns the number of registers in a list such as {r4, r5-r7, lr}."""
    count = 0
    for part in text.strip("{} ").split(","):
        first, _, last = part.strip().partition("-")
        number = lambda name: int(re.sub(r"\D", "", name) or 0)
        count += number(last) - number(first) + 1 if last else 1
    return count


def follow_constant(constants, name, operands):
    """Notes what a RISC-V instruction puts into a register, if it is a number."""
    register, _, value = operands.partition(",")
    if name == "li" and (found := re.match(r"(-?\d+)", value)):
        constants[register] = int(found[1])
    elif name == "lui" and (found := re.match(r"(0x[0-9a-f]+)", value)):
        constants[register] = int(found[1], 16) << 12
    elif name in ("add", "addi") and register in constants and (found := re.match(rf"{register},(-?\d+)", value)):
        constants[register] += int(found[1])


def frame_bytes(name, operands, constants):
    """Returns by how many bytes an instruction lowers the stack pointer, or None if it is no number."""
    if name in ("push", "push.w", "stmdb") and (name != "stmdb" or operands.startswith("sp!")):
        return 4 * registers(operands[operands.index("{"):])
    if name == "vpush":
        size = 4 if "{s" in operands else 8
        return size * registers(operands)
    if name.startswith("str") and (found := re.search(r"\[sp, #-(\d+)\]!", operands)):
        return int(found[1])
    if name in ("sub", "sub.w", "subw") and re.match(r"sp, ", operands):
        found = re.search(r"#(\d+)", operands)
        return int(found[1]) if found else None
    if name in ("add", "addi") and (found := re.match(r"sp,sp,(-?\d+)", operands)):
        return max(-int(found[1]), 0)
    if name == "sub" and operands.startswith("sp,sp,"):
        return constants.get(operands[6:])
    if name == "add" and operands.startswith("sp,sp,"):
        return 0
    return 0


def read(lines):
    """Returns the frame, the called names and whether there are calls through pointers, of each function."""
    functions, current, constants = {}, None, {}
    for line in lines:
        if found := HEAD.match(line):
            constants.clear()
            current = functions.setdefault(found[1], [0, set(), False, found[1]])
        elif current is not None and (found := INSTRUCTION.match(line)):
            name, operands = found[1], found[2]
            operands, _, comment = operands.partition(";")
            operands = operands.strip()
            follow_constant(constants, name, operands)
            taken = frame_bytes(name, operands, constants)
            if taken is None and not START.match(current[3]):
                sys.exit(f"stack bound: a frame that is no number: {line.strip()}")
            current[0] += taken or 0
            if re.match(r"(bl?x?|b[a-z]{2}|jal|j|jalr|jr|call|tail|beq|bne|cbn?z)(\.[nw])?$", name):
                if target := TARGET.search(operands):
                    # A branch within the function has an offset.
                    if not target[2]:
                        current[1].add(target[1])
                elif name in ("blx", "jalr", "bx", "jr") and not re.match(r"(lr|ra|t0)\b", operands.strip()):
                    current[2] = True
    return functions


def main():
    sys.setrecursionlimit(10_000)
    functions = read(sys.stdin)
    called = set().union(*(calls for _, calls, *_ in functions.values()))
    roots = [name for name in functions if name not in called and not PANICS.search(name)]

    def depths(through_pointers, of_tasks):
        """Returns the deepest path of every function. The arguments are the paths of a call through a pointer, and of an executor's."""
        known, open_ = {}, []

        def depth(name):
            if name in known:
                return known[name]
            if name in open_:
                sys.exit(f"stack bound: recursion: {' > '.join(open_[open_.index(name):])}")
            open_.append(name)
            frame, calls, is_indirect, _ = functions.get(name, (0, (), False, name))
            below = [depth(call) for call in calls if call != name and not PANICS.search(call)]
            if is_indirect:
                runs_tasks = name in sys.argv or EXECUTOR.search(name) and not TASK.search(name)
                below.append(of_tasks if runs_tasks else through_pointers)
            deepest = max(below, default=(0, ()), key=lambda path: path[0])
            open_.pop()
            known[name] = (frame + deepest[0], ((name, frame), *deepest[1]))
            return known[name]

        return {name: depth(name) for name in functions}

    def deepest(all_depths, names):
        return max((all_depths[name] for name in names), key=lambda found: found[0], default=(0, ()))

    tasks = [name for name in roots if TASK.search(name)]
    pointed = [
        name
        for name in roots
        if not (TASK.search(name) or EXECUTOR.search(name) or INTERRUPT.match(name) or START.match(name))
    ]
    path = (0, ())
    for _ in range(NESTED):
        path = deepest(depths(path, (0, ())), pointed)
    all_depths = depths(path, deepest(depths(path, (0, ())), tasks))
    thread = deepest(all_depths, all_depths)
    interrupts = {
        name: all_depths[name][0] + EXCEPTION_BYTES
        for name in functions
        if INTERRUPT.match(name) and not PANICS.search(name) and functions[name][1] | {functions[name][2]} - {False}
    }
    if "--path" in sys.argv:
        for name, frame in thread[1]:
            print(f"  {frame:6} {name}")
        for name, size in interrupts.items():
            print(f"  {size:6} interrupt {name}")
    times = 2 if "--twice" in sys.argv else 1
    print(times * thread[0] + sum(interrupts.values()))


if __name__ == "__main__":
    main()
