//! Tells what a function returns and stores that only hands out constants, without running it.
//!
//! libkrunfw's functions store a few numbers through their arguments and return an address. A C compiler
//! makes a handful of instructions of that. Whatever is not among them is refused: a function that does more
//! is none of libkrunfw's.

use std::collections::BTreeMap;

use super::image::Image;

/// The effect of a function: the number that it stores through each argument, and what it returns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Constants {
    pub(super) stored: BTreeMap<u8, u64>,
    pub(super) returned: Option<u64>,
}

/// The most instructions of such a function.
const MOST: usize = 64;

const RAX: u8 = 0;
const RSP: u8 = 4;
const RBP: u8 = 5;

/// The registers of the first arguments (System V's calling convention): RDI, RSI, RDX.
const ARGUMENTS: [(u8, u8); 3] = [(7, 0), (6, 1), (2, 2)];

/// Follows the function at an address. `Err` has the address of what is refused.
pub(super) fn of(image: &Image<'_>, address: u64) -> Result<Constants, u64> {
    let mut machine = Machine {
        image,
        at: address,
        registers: BTreeMap::new(),
        stack: BTreeMap::new(),
        constants: Constants::default(),
    };
    machine.registers.extend(ARGUMENTS.map(|(register, number)| (register, Value::Argument(number))));
    machine.registers.insert(RSP, Value::Stack(0));
    machine.registers.insert(RBP, Value::Saved);
    for _ in 0..MOST {
        let at = machine.at;
        match machine.step() {
            Some(Next::Instruction) => {}
            Some(Next::Return) => return Ok(machine.constants),
            None => return Err(at),
        }
    }
    Err(address)
}

/// The contents of a register, or of a place on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Number(u64),
    /// The pointer that the caller gave as this argument.
    Argument(u8),
    /// A place on the stack, from where the return address lies.
    Stack(i64),
    /// A register of the caller's.
    Saved,
}

enum Next {
    Instruction,
    Return,
}

/// The second operand of an instruction.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Register(u8),
    /// Memory: the value of the base register and the displacement from it.
    Memory(Value, i64),
}

struct Machine<'i, 'a> {
    image: &'i Image<'a>,
    at: u64,
    registers: BTreeMap<u8, Value>,
    stack: BTreeMap<i64, Value>,
    constants: Constants,
}

impl Machine<'_, '_> {
    /// One instruction; `None` if it is none of those that are known, or does what they must not.
    fn step(&mut self) -> Option<Next> {
        const ENDBR64: [u8; 4] = [0xF3, 0x0F, 0x1E, 0xFA];
        if self.image.bytes(self.at, 4) == Some(&ENDBR64) {
            self.at = self.at.checked_add(4)?;
            return Some(Next::Instruction);
        }
        let mut opcode = self.byte()?;
        let mut rex = 0;
        if opcode & 0xF0 == 0x40 {
            rex = opcode;
            opcode = self.byte()?;
        }
        let wide = rex & 8 != 0;
        let low = |opcode: u8| (opcode & 7) | (rex & 1) << 3;
        match opcode {
            0x90 => {}
            0x50..=0x57 => {
                let value = self.register(low(opcode))?;
                self.push(value)?;
            }
            0x58..=0x5F => {
                let value = self.pop()?;
                self.registers.insert(low(opcode), value);
            }
            0xB8..=0xBF if !wide => {
                let number = u64::from(u32::from_le_bytes(self.bytes()?));
                self.registers.insert(low(opcode), Value::Number(number));
            }
            0x89 => {
                let (register, operand) = self.operands(rex, 0)?;
                let value = self.register(register)?;
                self.write(operand, value, wide)?;
            }
            0x8B => {
                let (register, operand) = self.operands(rex, 0)?;
                let value = self.read(operand, wide)?;
                self.write(Operand::Register(register), value, wide)?;
            }
            0x8D if wide => {
                let (register, Operand::Memory(base, displacement)) = self.operands(rex, 0)? else {
                    return None;
                };
                self.registers.insert(register, base.offset(displacement)?);
            }
            0xC7 => {
                let (0, operand) = self.operands(rex, 4)? else { return None };
                let number = i64::from(i32::from_le_bytes(self.bytes()?)) as u64;
                self.write(operand, Value::Number(number), wide)?;
            }
            0x31 | 0x33 => {
                let (register, Operand::Register(other)) = self.operands(rex, 0)? else { return None };
                if register != other {
                    return None;
                }
                self.registers.insert(register, Value::Number(0));
            }
            0x05 | 0x25 | 0x2D if wide => {
                let number = i64::from(i32::from_le_bytes(self.bytes()?)) as u64;
                self.arithmetic(opcode >> 3, RAX, number)?;
            }
            0x81 | 0x83 | 0xC1 if wide => {
                let immediate = if opcode == 0x81 { 4 } else { 1 };
                let (operation, Operand::Register(register)) = self.operands(rex, immediate)? else {
                    return None;
                };
                let number = match immediate {
                    4 => i64::from(i32::from_le_bytes(self.bytes()?)) as u64,
                    _ => i64::from(self.byte()? as i8) as u64,
                };
                // The operation is in a field of three bits, and those of shifts are numbered on from there.
                self.arithmetic(operation & 7 | if opcode == 0xC1 { 8 } else { 0 }, register, number)?;
            }
            0xFF if wide => {
                let (operation, Operand::Register(register)) = self.operands(rex, 0)? else { return None };
                // Plus one, or minus one: an addition or a subtraction of one.
                let operation = [0, 5].get(usize::from(operation & 7)).copied()?;
                self.arithmetic(operation, register, 1)?;
            }
            0xC9 => {
                self.registers.insert(RSP, self.register(RBP)?);
                let value = self.pop()?;
                self.registers.insert(RBP, value);
            }
            0xC3 => {
                if self.register(RSP) != Some(Value::Stack(0)) || self.register(RBP) != Some(Value::Saved) {
                    return None;
                }
                self.constants.returned = match self.register(RAX) {
                    Some(Value::Number(number)) => Some(number),
                    _ => None,
                };
                return Some(Next::Return);
            }
            _ => return None,
        }
        Some(Next::Instruction)
    }

    fn byte(&mut self) -> Option<u8> {
        let [byte] = self.bytes()?;
        Some(byte)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.image.bytes(self.at, N as u64)?;
        self.at = self.at.checked_add(N as u64)?;
        bytes.try_into().ok()
    }

    fn register(&self, register: u8) -> Option<Value> {
        self.registers.get(&register).copied()
    }

    fn push(&mut self, value: Value) -> Option<()> {
        let Value::Stack(top) = self.register(RSP)?.offset(-8)? else { return None };
        self.registers.insert(RSP, Value::Stack(top));
        self.stack.insert(top, value);
        Some(())
    }

    fn pop(&mut self) -> Option<Value> {
        let Value::Stack(top) = self.register(RSP)? else { return None };
        let value = self.stack.get(&top).copied()?;
        self.registers.insert(RSP, Value::Stack(top.checked_add(8)?));
        Some(value)
    }

    /// The ModRM byte and what follows it: the register, and the other operand. `behind` bytes of the
    /// instruction come after them.
    fn operands(&mut self, rex: u8, behind: u64) -> Option<(u8, Operand)> {
        let byte = self.byte()?;
        let register = (byte >> 3 & 7) | (rex & 4) << 1;
        let base = (byte & 7) | (rex & 1) << 3;
        // Another byte names base and index. The stack pointer alone can be no base without it.
        if byte >> 6 != 3 && byte & 7 == RSP && self.byte()? != 0x24 {
            return None;
        }
        let operand = match (byte >> 6, base) {
            (3, base) => Operand::Register(base),
            (0, 5 | 13) => {
                let displacement = i64::from(i32::from_le_bytes(self.bytes()?));
                Operand::Memory(Value::Number(self.at.checked_add(behind)?), displacement)
            }
            (0, base) => Operand::Memory(self.register(base)?, 0),
            (1, base) => {
                let displacement = i64::from(self.byte()? as i8);
                Operand::Memory(self.register(base)?, displacement)
            }
            (_, base) => {
                let displacement = i64::from(i32::from_le_bytes(self.bytes()?));
                Operand::Memory(self.register(base)?, displacement)
            }
        };
        Some((register, operand))
    }

    fn read(&self, operand: Operand, wide: bool) -> Option<Value> {
        match operand {
            Operand::Register(register) => self.register(register),
            Operand::Memory(base, displacement) if wide => match base.offset(displacement)? {
                Value::Stack(at) => self.stack.get(&at).copied(),
                Value::Number(address) => self.image.word(address).map(Value::Number),
                Value::Argument(_) | Value::Saved => None,
            },
            Operand::Memory(..) => None,
        }
    }

    fn write(&mut self, operand: Operand, value: Value, wide: bool) -> Option<()> {
        match (operand, value) {
            (Operand::Register(register), value) if wide => {
                self.registers.insert(register, value);
            }
            (Operand::Register(register), Value::Number(number)) => {
                self.registers.insert(register, Value::Number(number & 0xFFFF_FFFF));
            }
            (Operand::Memory(base, displacement), value) if wide => match (base.offset(displacement)?, value)
            {
                // The return address, and what is above, is the caller's.
                (Value::Stack(at), value) if at < 0 => {
                    self.stack.insert(at, value);
                }
                (Value::Argument(argument), Value::Number(number)) => {
                    self.constants.stored.insert(argument, number);
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    }

    fn arithmetic(&mut self, operation: u8, register: u8, operand: u64) -> Option<()> {
        let value = self.register(register)?;
        let value = match (operation, value) {
            (0, value) => value.offset(operand as i64)?,
            (5, value) => value.offset((operand as i64).checked_neg()?)?,
            (4, Value::Number(number)) => Value::Number(number & operand),
            (12, Value::Number(number)) => Value::Number(number.checked_shl(u32::try_from(operand).ok()?)?),
            (13, Value::Number(number)) => Value::Number(number.checked_shr(u32::try_from(operand).ok()?)?),
            _ => return None,
        };
        self.registers.insert(register, value);
        Some(())
    }
}

impl Value {
    /// The place so many bytes further. Behind an argument lies what the caller did not give.
    fn offset(self, by: i64) -> Option<Self> {
        match self {
            Self::Number(number) => Some(Self::Number(number.wrapping_add_signed(by))),
            Self::Stack(at) => at.checked_add(by).map(Self::Stack),
            Self::Argument(_) | Self::Saved => (by == 0).then_some(self),
        }
    }
}
