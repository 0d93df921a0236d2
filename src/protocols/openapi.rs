//! The `OpenAPI` document: what each operation takes and gives. Which operations there are is told by the route table.

use serde_json::{Map, Value, json};

use crate::domain::caller::Scope;

/// What an operation takes and gives.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Its id.
    pub(crate) id: &'static str,
    /// What a caller needs. `None`: nothing: probes, and what tells no secret.
    pub(crate) scope: Option<Scope>,
    summary: &'static str,
    query: &'static [&'static str],
    header: Option<&'static str>,
    body: Option<(&'static str, bool)>,
    /// The media type of the body.
    takes: &'static str,
    answers: Vec<(u16, Option<(&'static str, &'static str)>)>,
    unready: bool,
    /// Whether a ticket will do: for what browsers open without headers of their own.
    pub(crate) takes_ticket: bool,
    /// Whether it goes on as a WebSocket.
    pub(crate) is_websocket: bool,
}

impl Operation {
    /// An operation that takes nothing but what its path names.
    pub(crate) const fn new(id: &'static str, scope: Option<Scope>, summary: &'static str) -> Self {
        Self {
            id,
            scope,
            summary,
            query: &[],
            header: None,
            body: None,
            takes: "application/json",
            answers: Vec::new(),
            unready: false,
            takes_ticket: false,
            is_websocket: false,
        }
    }

    /// Takes these parameters in the query.
    #[must_use]
    pub(crate) fn query(self, names: &'static [&'static str]) -> Self {
        Self { query: names, ..self }
    }

    /// Takes a header, by its name among the document's parameters.
    #[must_use]
    pub(crate) fn header(self, name: &'static str) -> Self {
        Self { header: Some(name), ..self }
    }

    /// Needs a body of this schema.
    #[must_use]
    pub(crate) fn body(self, schema: &'static str) -> Self {
        Self { body: Some((schema, true)), ..self }
    }

    /// Needs a form with files, of this schema.
    #[must_use]
    pub(crate) fn form(self, schema: &'static str) -> Self {
        Self { body: Some((schema, true)), takes: "multipart/form-data", ..self }
    }

    /// Takes a body of this schema, or none.
    #[must_use]
    pub(crate) fn optional_body(self, schema: &'static str) -> Self {
        Self { body: Some((schema, false)), ..self }
    }

    /// May answer so.
    #[must_use]
    pub(crate) fn gives(mut self, status: u16, media: &'static str, schema: &'static str) -> Self {
        self.answers.push((status, Some((media, schema))));
        self
    }

    /// May answer so, without a body.
    #[must_use]
    pub(crate) fn empty(mut self, status: u16) -> Self {
        self.answers.push((status, None));
        self
    }

    /// May answer 503 in plain text.
    #[must_use]
    pub(crate) fn unready(self) -> Self {
        Self { unready: true, ..self }
    }

    /// Can be opened with a ticket in the query.
    #[must_use]
    pub(crate) fn ticket(self) -> Self {
        Self { takes_ticket: true, ..self }
    }

    /// Goes on as a WebSocket.
    #[must_use]
    pub(crate) fn websocket(self) -> Self {
        Self { is_websocket: true, ..self }.empty(101)
    }

    fn write(&self, template: &str) -> Value {
        let mut parameters: Vec<Value> = variables(template)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
            .collect();
        let shared = self.query.iter().chain(&self.header);
        parameters.extend(shared.map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": parameters,
            "responses": self.responses(),
            "x-scope": self.scope.map(Scope::as_str),
            "security": self.security(),
        });
        if let Some((schema, required)) = self.body {
            let content = json!({self.takes: {"schema": reference(schema)}});
            operation["requestBody"] = json!({"required": required, "content": content});
        }
        operation
    }

    /// Any of these credentials, where the server wants one.
    fn security(&self) -> Value {
        let Some(_) = self.scope else { return json!([]) };
        let mut any = vec![json!({"bearer": []}), json!({"apiKey": []}), json!({"session": []})];
        if self.takes_ticket {
            any.push(json!({"ticket": []}));
        }
        any.into()
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        for (status, content) in &self.answers {
            let response = responses.entry(status.to_string()).or_insert_with(|| json!({"description": self.summary}));
            if let Some((media, schema)) = content {
                response["content"][*media] = json!({"schema": reference(schema)});
            }
        }
        for class in ["4XX", "5XX"] {
            let mut content = json!({"application/json": {"schema": reference("Error")}});
            if self.unready && class == "5XX" {
                content["text/plain; charset=utf-8"] = json!({"schema": reference("Text")});
            }
            responses.insert(class.to_owned(), json!({"description": "An error", "content": content}));
        }
        responses.into()
    }
}

/// The document of these operations: method, path template, and what they take and give.
pub(crate) fn document<'a>(operations: impl Iterator<Item = (&'a str, &'a str, &'a Operation)>) -> Value {
    let mut paths = Map::new();
    for (method, template, operation) in operations {
        let path = paths.entry(template).or_insert_with(|| json!({}));
        path[method.to_lowercase()] = operation.write(template);
    }
    let components: Value = serde_json::from_str(include_str!("openapi/components.json")).expect("a part of the build");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rejoinder",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The names in braces.
fn variables(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operation_refers_to_is_there() {
        let operation =
            Operation::new("x", Some(Scope::Read), "X").query(&["limit"]).gives(200, "application/json", "Item");
        let document = document([("GET", "/v1/x/{x_id}", &operation)].into_iter());
        let written = &document["paths"]["/v1/x/{x_id}"]["get"];
        assert_eq!(written["parameters"][0]["name"], "x_id");
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
