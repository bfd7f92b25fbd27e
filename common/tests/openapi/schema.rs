//! Forms that several schemas have in common.

use serde_json::{Map, Value, json};

/// A reference to a schema among the components.
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Schemas by name.
pub(crate) fn named(schemas: Value) -> Map<String, Value> {
    let Value::Object(schemas) = schemas else { panic!("not schemas by name: {schemas}") };
    schemas
}

/// The same with these words.
pub(crate) fn described(description: &str, mut schema: Value) -> Value {
    schema["description"] = description.into();
    schema
}

/// So many bytes in hex.
pub(crate) fn hex(bytes: usize) -> Value {
    json!({ "type": "string", "pattern": format!("^[0-9A-Fa-f]{{{}}}$", 2 * bytes) })
}

/// So many bytes in base64url without padding.
pub(crate) fn base64url(bytes: usize) -> Value {
    let end = match bytes % 3 {
        0 => "",
        1 => "[A-Za-z0-9_-][AQgw]",
        _ => "[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]",
    };
    json!({
        "type": "string",
        "pattern": format!("^[A-Za-z0-9_-]{{{}}}{end}$", bytes / 3 * 4),
        "contentEncoding": "base64url",
    })
}

/// Bytes in base64url without padding.
pub(crate) fn any_base64url() -> Value {
    json!({
        "type": "string",
        "pattern": "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$",
        "contentEncoding": "base64url",
    })
}

/// A string that is JSON of another schema.
pub(crate) fn json_text(content: &Value) -> Value {
    json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": content })
}

/// A number of one byte.
pub(crate) fn byte() -> Value {
    json!({ "type": "integer", "format": "uint8", "minimum": 0, "maximum": 255 })
}

/// The id of a workload. Characters of Unicode's category Cf are refused, too: few dialects of regular
/// expressions could say so.
pub(crate) fn workload_id() -> Value {
    json!({
        "description": "The name of a workload: 1 to 256 bytes of UTF-8. None of / ? # % \\ \" < > ` or white space, none of \
                        Unicode's categories Cc and Cf, and neither `.` nor `..`.",
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "pattern": r#"^(?!\.\.?$)[^\s/?#%\\"<>`\x00-\x1f\x7f-\x9f]+$"#,
    })
}

/// The name of a resource.
pub(crate) fn resource_name() -> Value {
    json!({ "type": "string", "pattern": r"^(?!\.\.?$)[A-Za-z0-9._-]{1,64}$" })
}

/// A part of the name of a resource of Trustee's guests.
pub(crate) fn path_part() -> Value {
    json!({ "type": "string", "pattern": format!("^{PATH_PART}$") })
}

/// The whole name: three parts with slashes between them.
pub(crate) fn resource_path() -> Value {
    json!({ "type": "string", "pattern": format!("^{PATH_PART}/{PATH_PART}/{PATH_PART}$") })
}

const PATH_PART: &str = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}";
