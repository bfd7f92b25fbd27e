//! JSON schemas of texts that have a form of their own: for the description of the HTTP API alone.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A string that is the JSON text of a `T`.
pub(crate) struct Json<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Json<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("JsonOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": generator.subschema_for::<T>(),
        })
    }
}

/// The same, or nothing.
pub(crate) struct JsonOrEmpty<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for JsonOrEmpty<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("JsonOf{}OrEmpty", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<Json<T>>(), { "type": "string", "const": "" }] })
    }
}

/// At least `N` bytes, in standard base64 with padding.
pub(crate) struct Base64<const N: usize>;

impl<const N: usize> JsonSchema for Base64<N> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Base64From{N}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": data_encoding::BASE64.encode_len(N),
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            "contentEncoding": "base64",
        })
    }
}
