//! Single calls as one batch call, on wire bytes: fields keep their bytes and change their numbers, so that no type of
//! the batch's messages need be known.

use crate::ItemError;
use prost::{
    DecodeError, Message,
    encoding::{
        DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key, encode_varint, skip_field,
    },
};

/// Which field of a single call is which field of its batch RPC. Pairs are (single's number, batch's number).
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Number of the batch request's items.
    pub items: u32,
    /// What of a request becomes an item.
    pub item: Item,
    /// What all requests of one batch have in common.
    pub shared: &'static [(u32, u32)],
    /// Number of the batch response's results.
    pub results: u32,
    /// Where a result says how its item went.
    pub status: ItemStatus,
    /// What of a result is the response.
    pub answer: Answer,
}

/// What of a single request becomes an item.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// All of it.
    Request,
    /// The value of one field.
    Field {
        /// Its number.
        number: u32,
        /// The item of a request whose field is not set: an empty value must be an item too.
        absent: &'static [u8],
    },
    /// Some fields, in a message of their own.
    Fields(&'static [(u32, u32)]),
}

/// What of a result is the single response.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The message in one field.
    Field(u32),
    /// Some fields.
    Fields(&'static [(u32, u32)]),
}

/// Where a result says how its item went.
#[derive(Clone, Copy, Debug)]
pub enum ItemStatus {
    /// An `int32 code` and perhaps a `string message`.
    Code {
        /// Number of the code.
        code: u32,
        /// Number of the message.
        message: Option<u32>,
    },
    /// A `google.rpc.Status` in this field.
    RpcStatus(u32),
}

/// One field of a message.
struct Field<'a> {
    number: u32,
    wire: WireType,
    /// The value as encoded, a length included.
    value: &'a [u8],
}

impl Gather {
    /// The encoded batch request of these encoded requests, which all join.
    pub fn request(&self, requests: &[&[u8]]) -> Vec<u8> {
        let (mut batch, mut item) = (Vec::new(), Vec::new());
        for single in requests {
            match self.item {
                Item::Request => put_bytes(self.items, single, &mut batch),
                Item::Field { number, absent } => {
                    match own_fields(single).filter(|field| field.number == number).last() {
                        Some(field) => field.put(self.items, &mut batch),
                        None => batch.extend_from_slice(absent),
                    }
                }
                Item::Fields(pairs) => {
                    item.clear();
                    renumber(single, pairs, &mut item);
                    put_bytes(self.items, &item, &mut batch);
                }
            }
        }
        if let Some(first) = requests.first().filter(|_| !self.shared.is_empty()) {
            renumber(first, self.shared, &mut batch);
        }
        batch
    }

    /// The responses in an encoded batch response, one for each result, in order.
    ///
    /// # Errors
    /// If the bytes are no such message.
    pub fn responses<A: Message + Default>(&self, batch: &[u8]) -> Result<Vec<Result<A, ItemError>>, DecodeError> {
        let (mut outcomes, mut answer) = (Vec::new(), Vec::new());
        for field in fields(batch) {
            let field = field?;
            if field.number == self.results {
                answer.clear();
                let failure = self.result(field.bytes()?, &mut answer)?;
                outcomes.push(if failure.0 == 0 { Ok(A::decode(&*answer)?) } else { Err(failure) });
            }
        }
        Ok(outcomes)
    }

    /// Writes the response in a result; returns its status.
    fn result(&self, result: &[u8], answer: &mut Vec<u8>) -> Result<ItemError, DecodeError> {
        let mut status = (0, String::new());
        for field in fields(result) {
            let field = field?;
            self.status.read(&field, &mut status)?;
            match self.answer {
                Answer::Field(number) if number == field.number => answer.extend_from_slice(field.bytes()?),
                Answer::Field(_) => {}
                Answer::Fields(pairs) => {
                    if let Some((number, _)) = pairs.iter().find(|(_, number)| *number == field.number) {
                        field.put(*number, answer);
                    }
                }
            }
        }
        Ok(status)
    }
}

impl ItemStatus {
    fn read(self, field: &Field<'_>, status: &mut ItemError) -> Result<(), DecodeError> {
        match self {
            Self::Code { code, .. } if field.number == code => status.0 = field.int32()?,
            Self::Code { message: Some(message), .. } if field.number == message => status.1 = field.text()?,
            Self::RpcStatus(number) if field.number == number => {
                for inner in fields(field.bytes()?) {
                    Self::Code { code: 1, message: Some(2) }.read(&inner?, status)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the status of an item that failed. A code of 0 is taken as UNKNOWN, since it is not OK.
    pub(super) fn put(self, (code, text): &ItemError, out: &mut Vec<u8>) {
        match self {
            Self::Code { code: field, message } => {
                let code = if *code == 0 { 2 } else { *code };
                prost::encoding::int32::encode(field, &code, out);
                if let Some(field) = message {
                    prost::encoding::string::encode(field, text, out);
                }
            }
            Self::RpcStatus(field) => {
                let mut status = Vec::new();
                Self::Code { code: 1, message: Some(2) }.put(&(*code, text.clone()), &mut status);
                put_bytes(field, &status, out);
            }
        }
    }
}

impl<'a> Field<'a> {
    /// Writes it under another number.
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        encode_key(number, self.wire, out);
        out.extend_from_slice(self.value);
    }

    fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        check_wire_type(WireType::LengthDelimited, self.wire)?;
        let mut rest = self.value;
        decode_varint(&mut rest)?;
        Ok(rest)
    }

    fn text(&self) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    fn int32(&self) -> Result<i32, DecodeError> {
        check_wire_type(WireType::Varint, self.wire)?;
        decode_varint(&mut &*self.value).map(|value| value as i32)
    }
}

/// The fields of a message, up to the first fault.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let field = next(&mut message);
        if field.is_err() {
            message = &[];
        }
        Some(field)
    })
}

fn next<'a>(message: &mut &'a [u8]) -> Result<Field<'a>, DecodeError> {
    let (number, wire) = decode_key(message)?;
    let start = *message;
    skip_field(wire, number, message, DecodeContext::default())?;
    Ok(Field { number, wire, value: &start[..start.len() - message.len()] })
}

/// The fields of a message that was encoded here and has no faults.
fn own_fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    fields(message).map_while(Result::ok)
}

/// Writes the fields that have a new number under it.
fn renumber(message: &[u8], pairs: &[(u32, u32)], out: &mut Vec<u8>) {
    for field in own_fields(message) {
        if let Some((_, number)) = pairs.iter().find(|(number, _)| *number == field.number) {
            field.put(*number, out);
        }
    }
}

fn put_bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}
