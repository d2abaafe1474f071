//! The description of the interface, as OpenAPI 3.1: what attributes in the code do not say is added here, by rules that hold for
//! every operation.
//!
//! * Nothing is null. A member that has nothing to say is left out, in what is asked ([`ask`](super::ask)) and in what is answered.
//! * A member means the same everywhere, so what it may look like goes by its name.
//! * Members that exclude each other, or that cannot all be left out, are named per shape.
//! * An operation is called what its path says.
//!
//! The description is that of the node that serves it: one that wants a token says so.

use leasehold_core::COUNTER_END;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

type Object = Map<String, Value>;

/// A whole number and a unit, see [`duration`](crate::duration).
const DURATION: &str = r"^[0-9]+\s*(h|m|s|ms|us|µs)\s*$";
/// Base64 as it is read here: with its padding, and without bits that say nothing.
const BASE64: &str =
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
/// The same, of one byte or more.
const BASE64_OF_SOMETHING: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$";
/// The name of a node.
const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";
/// `host:port`.
const ADDRESS: &str = r"^([^:\[\]]+|\[.*\]):\+?[0-9]+$";
/// The `next` of a page.
const CURSOR: &str = r"^\+?[0-9A-Fa-f]+\.\+?[0-9A-Fa-f]+$";

/// Completes what was gathered from the code.
pub(super) fn completed(gathered: &OpenApi, wants_token: bool) -> Value {
    let mut all = json!(gathered);
    drop_nulls(&mut all);
    for (name, schema) in objects(&mut all, "/components/schemas") {
        let asked = name.ends_with("Asked");
        let members = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (member, schema) in members.into_iter().flatten() {
            narrow(member, schema, asked);
        }
        let rules = rules_of(name);
        if !rules.is_empty() {
            schema.insert("allOf".to_owned(), Value::Array(rules));
        }
    }
    for (path, item) in objects(&mut all, "/paths") {
        for (_, operation) in item.iter_mut() {
            let Some(operation) = operation.as_object_mut() else { continue };
            complete(path, operation, wants_token);
        }
    }
    if let Some(components) = all.pointer_mut("/components").and_then(Value::as_object_mut) {
        let token = json!({
            "type": "http",
            "scheme": "bearer",
            "description": "A token of this node's file of tokens, as `leasehold token` makes them.",
        });
        components.insert("securitySchemes".to_owned(), json!({ "token": token }));
    }
    all
}

/// The objects at a place, with their names.
fn objects<'a>(
    all: &'a mut Value,
    place: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Object)> {
    let named = all.pointer_mut(place).and_then(Value::as_object_mut).into_iter().flatten();
    named.filter_map(|(name, value)| Some((name, value.as_object_mut()?)))
}

fn complete(path: &str, operation: &mut Object, wants_token: bool) {
    operation.insert("operationId".to_owned(), Value::String(called(path)));
    let needs_token = wants_token && path.starts_with("/v1/") && path != "/v1/openapi.json";
    let security = if needs_token { json!([{ "token": [] }]) } else { json!([]) };
    operation.insert("security".to_owned(), security);
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter.get("name").and_then(Value::as_str).map(str::to_owned);
        if let (Some(name), Some(schema)) = (name, parameter.get_mut("schema")) {
            narrow(&name, schema, true);
        }
    }
    let headers = [
        ("401", "WWW-Authenticate", json!({ "type": "string", "const": "Bearer" }), "`Bearer`."),
        ("503", "Retry-After", json!({ "type": "integer", "minimum": 0 }), "In seconds."),
    ];
    for (status, name, schema, description) in headers {
        let place = operation.get_mut("responses").and_then(|all| all.get_mut(status));
        let is_json = |response: &Value| response.pointer("/content/application~1json").is_some();
        if let Some(response) = place.filter(|response| is_json(response))
            && let Some(response) = response.as_object_mut()
        {
            let header = json!({ "description": description, "required": true, "schema": schema });
            response.insert("headers".to_owned(), json!({ name: header }));
        }
    }
}

/// What the operation at a path is called: `/v1/members/set` is `membersSet`.
fn called(path: &str) -> String {
    let words = path.split(['/', '.']).filter(|word| !word.is_empty() && *word != "v1");
    words.fold(String::new(), |mut name, word| {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if !name.is_empty() => {
                name.extend(first.to_uppercase());
                name.push_str(letters.as_str());
            }
            Some(_) | None => name.push_str(word),
        }
        name
    })
}

/// Says what a member may look like beyond its type.
fn narrow(name: &str, schema: &mut Value, asked: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    let mut say = |what: &str, value: Value| schema.insert(what.to_owned(), value);
    match name {
        "key_base64" => drop(say("pattern", json!(BASE64_OF_SOMETHING))),
        _ if name.ends_with("_base64") => drop(say("pattern", json!(BASE64))),
        "ttl" | "wait" | "delay" | "timeout" => drop(say("pattern", json!(DURATION))),
        "token" => drop(say("maximum", json!(COUNTER_END - 1))),
        "key" => drop(say("minLength", json!(1))),
        "node" if asked => drop(say("pattern", json!(NAME))),
        "peer" if asked => drop(say("pattern", json!(ADDRESS))),
        "after" => drop(say("pattern", json!(CURSOR))),
        _ => {}
    }
    if name.ends_with("_base64") {
        say("contentEncoding", json!("base64"));
    }
}

/// Which members of a shape exclude each other, and which cannot all be left out.
fn rules_of(shape: &str) -> Vec<Value> {
    let key = || exactly_one(&["key", "key_base64"]);
    let owner = ["token", "value", "value_base64"];
    match shape {
        "LockAsked" => vec![key(), not_both("value")],
        "ExtendAsked" => vec![key(), not_both("value"), at_least_one(&owner)],
        "UpdateAsked" => vec![
            key(),
            exactly_one(&["value", "value_base64"]),
            not_both("old"),
            at_least_one(&["token", "old", "old_base64"]),
        ],
        "ReleaseAsked" => {
            let by_force = json!({
                "required": ["force"],
                "properties": { "force": { "const": true } },
                "not": at_least_one(&owner),
            });
            let mut by_owner = at_least_one(&owner);
            if let Some(by_owner) = by_owner.as_object_mut() {
                by_owner.insert("properties".to_owned(), json!({ "force": { "const": false } }));
            }
            vec![key(), not_both("value"), json!({ "oneOf": [by_force, by_owner] })]
        }
        _ => Vec::new(),
    }
}

fn required(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "required": [name] })).collect()
}

fn exactly_one(names: &[&str]) -> Value {
    json!({ "oneOf": required(names) })
}

fn at_least_one(names: &[&str]) -> Value {
    json!({ "anyOf": required(names) })
}

fn not_both(name: &str) -> Value {
    json!({ "not": { "required": [name, format!("{name}_base64")] } })
}

/// Takes `null` out wherever a type allows for it.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("oneOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("oneOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(drop_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_called_what_their_paths_say() {
        assert_eq!(called("/v1/lock"), "lock");
        assert_eq!(called("/v1/members/set"), "membersSet");
        assert_eq!(called("/v1/openapi.json"), "openapiJson");
        assert_eq!(called("/livez"), "livez");
    }

    #[test]
    fn what_may_be_null_may_be_left_out_instead() {
        let mut value = json!({
            "a": { "type": ["string", "null"], "description": "A." },
            "b": { "oneOf": [{ "type": "null" }, { "$ref": "#/x", "description": "B." }] },
            "c": { "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] },
        });
        let rest = value["c"].clone();
        drop_nulls(&mut value);
        assert_eq!(value["a"], json!({ "type": "string", "description": "A." }));
        assert_eq!(value["b"], json!({ "$ref": "#/x", "description": "B." }));
        assert_eq!(value["c"], rest);
    }
}
