//! The control API's own description, made from the same table as its router and from the types its handlers use.

use axum::http::Method;
use axum::routing::MethodRouter;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::api::{self, Api};
use super::problem::Problem;
use crate::config::settings::Scope;

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// `operationId`.
    pub(super) id: &'static str,
    /// What its caller's token must allow.
    pub(super) scope: Scope,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) request: Option<SchemaOf>,
    pub(super) response: SchemaOf,
    pub(super) handler: fn() -> MethodRouter<Arc<Api>>,
}

/// What stands in a path or a query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    place: &'static str,
    required: bool,
}

impl Parameter {
    pub(super) const fn in_path(name: &'static str) -> Self {
        Parameter { name, place: "path", required: true }
    }

    pub(super) const fn required(name: &'static str) -> Self {
        Parameter { name, place: "query", required: true }
    }

    pub(super) const fn optional(name: &'static str) -> Self {
        Parameter { name, place: "query", required: false }
    }

    fn describe(&self) -> Value {
        let schema = json!({ "type": "string" });
        json!({ "name": self.name, "in": self.place, "required": self.required, "schema": schema })
    }
}

/// Names a type's schema and notes its definition.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The document, in OpenAPI 3.1.
pub(super) fn document() -> Value {
    let (mut requests, mut responses) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let problem = schema_of::<Problem>(&mut responses);
    let mut paths = Map::new();
    for endpoint in api::endpoints() {
        let mut operation = json!({
            "operationId": endpoint.id,
            "summary": endpoint.summary,
            // OpenAPI 3.1 names roles here for schemes that have no scopes of their own.
            "security": [{ "token": [endpoint.scope.word()] }],
            "responses": {
                "200": {
                    "description": "Done.",
                    "content": { "application/json": { "schema": (endpoint.response)(&mut responses) } },
                },
                "default": {
                    "description": "Refused or failed.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        });
        if !endpoint.parameters.is_empty() {
            operation["parameters"] = endpoint.parameters.iter().map(Parameter::describe).collect();
        }
        if let Some(request) = endpoint.request {
            let schema = request(&mut requests);
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
        let methods = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        methods[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = responses.take_definitions(true);
    schemas.extend(requests.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "larder control API", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Tokens have scopes; `admin` covers the others.",
            } },
        },
        "security": [{ "token": [] }],
    })
}

fn generator(contract: Contract) -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.contract = contract;
        })
        .into_generator()
}
