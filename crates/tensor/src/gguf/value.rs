//! Values of metadata.

use std::collections::BTreeMap;

/// Makes the enums of values and arrays of the types that have a fixed size, with their numbers.
macro_rules! scalars {
    ($($variant:ident($type:ty) = $id:literal, $name:literal;)*) => {
        /// A value with its type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = concat!("Type `", $name, "`.")] $variant($type),)*
            /// 0 or 1.
            Bool(bool),
            /// UTF-8.
            String(String),
            /// Several of one type.
            Array(Array),
        }

        /// Values of one type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array {
            $(#[doc = concat!("Type `", $name, "`.")] $variant(Vec<$type>),)*
            /// 0 or 1 each.
            Bool(Vec<bool>),
            /// UTF-8 each.
            String(Vec<String>),
        }

        impl Value {
            /// The number of the type in files.
            pub(super) fn id(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $id,)*
                    Self::Bool(_) => BOOL,
                    Self::String(_) => STRING,
                    Self::Array(_) => ARRAY,
                }
            }

            /// Appends the bytes of the value.
            pub(super) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(x) => out.extend(x.to_le_bytes()),)*
                    Self::Bool(x) => out.push((*x).into()),
                    Self::String(x) => write_string(x, out),
                    Self::Array(array) => array.write(out),
                }
            }
        }

        impl Array {
            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(list) => list.len(),)*
                    Self::Bool(list) => list.len(),
                    Self::String(list) => list.len(),
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            fn write(&self, out: &mut Vec<u8>) {
                let mut head = |id: u32, len: usize| {
                    out.extend(id.to_le_bytes());
                    out.extend((len as u64).to_le_bytes());
                };
                match self {
                    $(Self::$variant(list) => {
                        head($id, list.len());
                        out.extend(list.iter().flat_map(|x| x.to_le_bytes()));
                    })*
                    Self::Bool(list) => {
                        head(BOOL, list.len());
                        out.extend(list.iter().map(|&x| u8::from(x)));
                    }
                    Self::String(list) => {
                        head(STRING, list.len());
                        list.iter().for_each(|x| write_string(x, out));
                    }
                }
            }
        }

        /// The types of values by number and name, arrays only if they are asked for.
        pub(super) fn known_types(arrays: bool) -> String {
            let mut known = vec![$(($id, $name),)* (BOOL, "bool"), (STRING, "string")];
            known.extend(arrays.then_some((ARRAY, "array")));
            known.sort_unstable();
            let known: Vec<_> = known.iter().map(|(id, name)| format!("{id} ({name})")).collect();
            format!("one of {}", known.join(", "))
        }

        /// The bytes of a value of the type `id`, if that has a fixed size.
        pub(super) fn scalar_bytes(id: u32) -> Option<usize> {
            match id {
                $($id => Some(size_of::<$type>()),)*
                BOOL => Some(1),
                _ => None,
            }
        }

        /// The value of a type of fixed size from as many bytes; `None` for a boolean that is
        /// neither, or another type.
        pub(super) fn scalar(id: u32, bytes: &[u8]) -> Option<Value> {
            match id {
                $($id => Some(Value::$variant(<$type>::from_le_bytes(*bytes.as_array()?))),)*
                BOOL => boolean(bytes[0]).map(Value::Bool),
                _ => None,
            }
        }

        /// The values of a type of fixed size from all of `bytes`.
        pub(super) fn scalars(id: u32, bytes: &[u8]) -> Option<Array> {
            match id {
                $($id => {
                    let list = bytes.as_chunks().0.iter().map(|&x| <$type>::from_le_bytes(x));
                    Some(Array::$variant(list.collect()))
                })*
                BOOL => bytes.iter().map(|&x| boolean(x)).collect::<Option<_>>().map(Array::Bool),
                _ => None,
            }
        }
    };
}

scalars! {
    U8(u8) = 0, "u8";
    I8(i8) = 1, "i8";
    U16(u16) = 2, "u16";
    I16(i16) = 3, "i16";
    U32(u32) = 4, "u32";
    I32(i32) = 5, "i32";
    F32(f32) = 6, "f32";
    U64(u64) = 10, "u64";
    I64(i64) = 11, "i64";
    F64(f64) = 12, "f64";
}

const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;

fn boolean(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Values by key.
pub type Metadata = BTreeMap<String, Value>;

impl Value {
    /// An integer that is not negative, of any type.
    pub fn as_u64(&self) -> Option<u64> {
        self.to_json().as_u64()
    }

    /// A number of any type; an f32 as the shortest decimal number that rounds to it.
    pub fn as_f64(&self) -> Option<f64> {
        self.to_json().as_f64()
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(x) => Some(*x),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(x) => Some(x),
            _ => None,
        }
    }

    /// Strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::Array(Array::String(list)) => Some(list),
            _ => None,
        }
    }

    /// The value without its type: numbers are numbers. An f32 becomes the shortest decimal number
    /// that rounds to it, so that 1e-5 is not 9.999999747378752e-6; what is not finite is null.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::U8(x) => (*x).into(),
            Self::I8(x) => (*x).into(),
            Self::U16(x) => (*x).into(),
            Self::I16(x) => (*x).into(),
            Self::U32(x) => (*x).into(),
            Self::I32(x) => (*x).into(),
            Self::U64(x) => (*x).into(),
            Self::I64(x) => (*x).into(),
            Self::F32(x) => decimal(*x).into(),
            Self::F64(x) => (*x).into(),
            Self::Bool(x) => (*x).into(),
            Self::String(x) => x.as_str().into(),
            Self::Array(array) => array.to_json(),
        }
    }
}

impl Array {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::U8(list) => list.as_slice().into(),
            Self::I8(list) => list.as_slice().into(),
            Self::U16(list) => list.as_slice().into(),
            Self::I16(list) => list.as_slice().into(),
            Self::U32(list) => list.as_slice().into(),
            Self::I32(list) => list.as_slice().into(),
            Self::U64(list) => list.as_slice().into(),
            Self::I64(list) => list.as_slice().into(),
            Self::F32(list) => list.iter().map(|&x| decimal(x)).collect(),
            Self::F64(list) => list.as_slice().into(),
            Self::Bool(list) => list.as_slice().into(),
            Self::String(list) => list.as_slice().into(),
        }
    }
}

/// The f64 of the shortest decimal number that rounds to `x`.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(x.into())
}
