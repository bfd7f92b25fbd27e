//! The shape of a value, without evaluating anything: kinds, and the contents of lists, sets and objects.

use std::{collections::BTreeMap, fmt, rc::Rc};

use regorus::Value;

/// Kinds of values, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(1 << 1);
    pub(super) const NUMBER: Self = Self(1 << 2);
    pub(super) const STRING: Self = Self(1 << 3);
    pub(super) const ARRAY: Self = Self(1 << 4);
    pub(super) const SET: Self = Self(1 << 5);
    pub(super) const OBJECT: Self = Self(1 << 6);
    const ALL: Self = Self((1 << 7) - 1);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are none of `other`.
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NULL, "null"),
            (Self::BOOLEAN, "a boolean"),
            (Self::NUMBER, "a number"),
            (Self::STRING, "a string"),
            (Self::ARRAY, "an array"),
            (Self::SET, "a set"),
            (Self::OBJECT, "an object"),
        ];
        let names: Vec<_> = names.iter().filter(|(kind, _)| self.has(*kind)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// The values that there can be. Nothing, if there never is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) kinds: Kinds,
    /// There may be no value.
    pub(super) missing: bool,
    /// Anything at all may be in it.
    any: bool,
    /// The items of arrays and sets.
    items: Option<Rc<Shape>>,
    /// Fields of objects, by names that are known.
    fields: BTreeMap<String, Rc<Shape>>,
    /// Names and values of objects' fields, and whether there may be others than `fields`.
    keys: Option<Rc<Shape>>,
    values: Option<Rc<Shape>>,
    open: bool,
}

impl Shape {
    pub(super) fn of_kind(kinds: Kinds) -> Rc<Self> {
        Rc::new(Self { kinds, ..Self::default() })
    }

    pub(super) fn any() -> Rc<Self> {
        Rc::new(Self { kinds: Kinds::ALL, any: true, ..Self::default() })
    }

    /// An array or a set.
    pub(super) fn holding(kinds: Kinds, items: Rc<Self>) -> Rc<Self> {
        Rc::new(Self { kinds, items: Some(items.there()), ..Self::default() })
    }

    /// An object with fields of any names.
    pub(super) fn mapping(keys: Rc<Self>, values: Rc<Self>) -> Rc<Self> {
        let (keys, values) = (Some(keys.there()), Some(values.there()));
        Rc::new(Self { kinds: Kinds::OBJECT, keys, values, open: true, ..Self::default() })
    }

    /// An object with these fields.
    pub(super) fn object(fields: impl IntoIterator<Item = (String, Rc<Self>)>) -> Rc<Self> {
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        let values = join_all(fields.values());
        let keys = Some(Self::of_kind(Kinds::STRING));
        Rc::new(Self { kinds: Kinds::OBJECT, fields, keys, values: Some(values), ..Self::default() })
    }

    pub(super) fn of_value(value: &Value) -> Rc<Self> {
        match value {
            Value::Null => Self::of_kind(Kinds::NULL),
            Value::Bool(_) => Self::of_kind(Kinds::BOOLEAN),
            Value::Number(_) => Self::of_kind(Kinds::NUMBER),
            Value::String(_) => Self::of_kind(Kinds::STRING),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(Self::of_value).collect();
                Self::holding(Kinds::ARRAY, join_all(&items))
            }
            Value::Set(items) => {
                let items: Vec<_> = items.iter().map(Self::of_value).collect();
                Self::holding(Kinds::SET, join_all(&items))
            }
            Value::Object(fields) => {
                let name = |key: &Value| key.as_string().map(|name| name.to_string());
                let field = |(key, value): (&Value, &Value)| Some((name(key).ok()?, Self::of_value(value)));
                Self::object(fields.iter().filter_map(field))
            }
            Value::Undefined => Rc::new(Self { missing: true, ..Self::default() }),
        }
    }

    /// The same, which may be missing.
    pub(super) fn or_missing(self: &Rc<Self>) -> Rc<Self> {
        if self.missing { Rc::clone(self) } else { Rc::new(Self { missing: true, ..Self::clone(self) }) }
    }

    /// The same, where there is one.
    pub(super) fn there(self: &Rc<Self>) -> Rc<Self> {
        if self.missing { Rc::new(Self { missing: false, ..Self::clone(self) }) } else { Rc::clone(self) }
    }

    /// Either of two.
    pub(super) fn join(self: &Rc<Self>, other: &Rc<Self>) -> Rc<Self> {
        if Rc::ptr_eq(self, other) || self == other || (other.kinds.none() && self.missing >= other.missing) {
            return Rc::clone(self);
        }
        if self.kinds.none() && other.missing >= self.missing {
            return Rc::clone(other);
        }
        let objects = self.kinds.has(Kinds::OBJECT) && other.kinds.has(Kinds::OBJECT);
        let mut fields = self.fields.clone();
        if objects {
            for (name, field) in &mut fields {
                if !other.fields.contains_key(name) {
                    *field = field.or_missing();
                }
            }
        }
        for (name, field) in &other.fields {
            let field = match fields.get(name) {
                Some(known) => known.join(field),
                None if objects => field.or_missing(),
                None => Rc::clone(field),
            };
            fields.insert(name.clone(), field);
        }
        Rc::new(Self {
            kinds: self.kinds.and(other.kinds),
            missing: self.missing || other.missing,
            any: self.any || other.any,
            items: join_maybe(self.items.as_ref(), other.items.as_ref()),
            fields,
            keys: join_maybe(self.keys.as_ref(), other.keys.as_ref()),
            values: join_maybe(self.values.as_ref(), other.values.as_ref()),
            open: self.open || other.open,
        })
    }

    /// The value under a name.
    pub(super) fn step(self: &Rc<Self>, name: &str) -> Rc<Self> {
        if self.any {
            return Self::any().or_missing();
        }
        let mut found = Rc::new(Self { missing: self.missing, ..Self::default() });
        if self.kinds.has(Kinds::OBJECT) {
            found = match self.fields.get(name) {
                Some(field) => found.join(field),
                None if self.open => found.join(&self.values.clone().unwrap_or_default()).or_missing(),
                None => found.or_missing(),
            };
        }
        if self.kinds.has(Kinds::SET) {
            found = found.join(&self.items.clone().unwrap_or_default()).or_missing();
        }
        if self.kinds.without(Kinds::OBJECT).none() { found } else { found.or_missing() }
    }

    /// The value under an index that is computed.
    pub(super) fn index(self: &Rc<Self>) -> Rc<Self> {
        self.each().or_missing()
    }

    /// The items that a loop goes through.
    pub(super) fn each(self: &Rc<Self>) -> Rc<Self> {
        if self.any {
            return Self::any();
        }
        let items = self.items.clone().unwrap_or_default();
        items.join(&self.values.clone().unwrap_or_default()).there()
    }

    /// The indices of what a loop goes through.
    pub(super) fn indices(self: &Rc<Self>) -> Rc<Self> {
        if self.any {
            return Self::any();
        }
        let mut indices = self.keys.clone().unwrap_or_default();
        if self.kinds.has(Kinds::ARRAY) {
            indices = indices.join(&Self::of_kind(Kinds::NUMBER));
        }
        if self.kinds.has(Kinds::SET) {
            indices = indices.join(&self.items.clone().unwrap_or_default());
        }
        indices
    }
}

pub(super) fn join_all<'s>(shapes: impl IntoIterator<Item = &'s Rc<Shape>>) -> Rc<Shape> {
    shapes.into_iter().fold(Rc::default(), |all, shape| all.join(shape))
}

fn join_maybe(a: Option<&Rc<Shape>>, b: Option<&Rc<Shape>>) -> Option<Rc<Shape>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.join(b)),
        (one, other) => one.or(other).cloned(),
    }
}
