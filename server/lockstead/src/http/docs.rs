//! The document as a page for people: plain HTML that needs no script and nothing from elsewhere.

use std::fmt::Write;

use lockstead_api::v1::ErrorReason;
use serde_json::Value;

use super::reason;

const STYLE: &str = include_str!("docs.css");

/// Writes the page. Whatever the document says is escaped.
pub(super) fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    add(
        &mut page,
        format_args!("<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n", escape(text(&info["title"]))),
    );
    let (title, version) = (escape(text(&info["title"])), escape(text(&info["version"])));
    add(&mut page, format_args!("<h1>{title} <small>{version}</small></h1>\n{}", prose(text(&info["description"]))));
    page += "<p>For programs: <a href=\"/openapi.json\"><code>/openapi.json</code></a>.</p>\n";
    add_contents(&mut page, document);
    for tag in items(&document["tags"]) {
        let name = text(&tag["name"]);
        add(&mut page, format_args!("<h2 id=\"{0}\">{0}</h2>\n{1}", escape(name), prose(text(&tag["description"]))));
        operations(document).filter(|operation| operation.tag() == name).for_each(|it| it.add_to(&mut page));
    }
    add_schemas(&mut page, &document["components"]["schemas"]);
    add_reasons(&mut page);
    page + "</body>\n</html>\n"
}

/// A method of a path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    about: &'a Value,
}

fn operations(document: &Value) -> impl Iterator<Item = Operation<'_>> {
    entries(&document["paths"])
        .flat_map(|(path, methods)| entries(methods).map(move |(method, about)| Operation { method, path, about }))
}

impl Operation<'_> {
    fn tag(&self) -> &str {
        text(&self.about["tags"][0])
    }

    /// `POST /v1/locks/{name}/acquire`
    fn call(&self) -> String {
        format!("<code>{} {}</code>", escape(&self.method.to_uppercase()), escape(self.path))
    }

    fn id(&self) -> String {
        escape(text(&self.about["operationId"]))
    }

    fn add_to(&self, page: &mut String) {
        let (summary, description) = (escape(text(&self.about["summary"])), prose(text(&self.about["description"])));
        add(page, format_args!("<h3 id=\"{}\">{summary}<br>{}</h3>\n{description}", self.id(), self.call()));
        let parameters = items(&self.about["parameters"]).map(|parameter| {
            let place = escape(text(&parameter["in"]));
            let name = format!("{}<br>in the {place}", name(text(&parameter["name"]), parameter["required"] == true));
            let about = described(&parameter["schema"], text(&parameter["description"]));
            [name, kind(&parameter["schema"]), about]
        });
        add_table(page, ["Parameter", "Type", ""], parameters);
        let bodies = entries(&self.about["requestBody"]["content"]).map(|(media_type, content)| {
            let name = name(media_type, self.about["requestBody"]["required"] == true);
            [name, kind(&content["schema"]), String::new()]
        });
        add_table(page, ["Body", "Type", ""], bodies);
        let responses = entries(&self.about["responses"]).map(|(status, response)| {
            let contents = entries(&response["content"]);
            let kinds = contents.map(|(media_type, content)| {
                format!("{}<br><code>{}</code>", kind(&content["schema"]), escape(media_type))
            });
            [escape(status), kinds.collect::<Vec<_>>().join("<br>"), prose(text(&response["description"]))]
        });
        add_table(page, ["Status", "Body", ""], responses);
    }
}

fn add_contents(page: &mut String, document: &Value) {
    *page += "<nav><ul>\n";
    for operation in operations(document) {
        add(page, format_args!("<li><a href=\"#{}\">{}</a></li>\n", operation.id(), operation.call()));
    }
    *page += "<li><a href=\"#types\">Types</a></li>\n<li><a href=\"#reasons\">Reasons</a></li>\n</ul></nav>\n";
}

fn add_schemas(page: &mut String, schemas: &Value) {
    *page += "<h2 id=\"types\">Types</h2>\n";
    for (schema_name, schema) in entries(schemas) {
        let about = described(schema, text(&schema["description"]));
        add(page, format_args!("<h3 id=\"type-{0}\">{0}</h3>\n<p>{1}</p>\n{about}", escape(schema_name), kind(schema)));
        add_properties(page, schema);
        for part in items(&schema["allOf"]).chain(items(&schema["oneOf"])).chain(items(&schema["anyOf"])) {
            *page += &described(part, text(&part["description"]));
            add_properties(page, part);
            items(&part["allOf"]).for_each(|part| add_properties(page, part));
        }
    }
}

fn add_properties(page: &mut String, schema: &Value) {
    let properties = entries(&schema["properties"]).map(|(property, about)| {
        let required = items(&schema["required"]).any(|required| required == property);
        // That of a member that can be null stands with its first choice.
        let description = about["description"].as_str().unwrap_or(text(&about["oneOf"][0]["description"]));
        [name(property, required), kind(about), described(about, description)]
    });
    add_table(page, ["Member", "Type", ""], properties);
}

fn add_reasons(page: &mut String) {
    *page += "<h2 id=\"reasons\">Reasons</h2>\n<table>\n<tr><th>Reason<th>Status<th></tr>\n";
    // Reasons are numbered as an enumeration of the contract, with gaps.
    let reasons = (1..1000).filter_map(|number| ErrorReason::try_from(number).ok());
    for it in reasons {
        let (word, status, title) = (it.as_word(), reason::status(it).as_u16(), escape(reason::title(it)));
        add(page, format_args!("<tr id=\"{word}\"><td><code>{word}</code><td>{status}<td>{title}</tr>\n"));
    }
    *page += "</table>\n";
}

fn add_table(page: &mut String, head: [&str; 3], rows: impl Iterator<Item = [String; 3]>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    add(page, format_args!("<table>\n<tr><th>{}<th>{}<th>{}</tr>\n", head[0], head[1], head[2]));
    for [first, second, third] in rows {
        add(page, format_args!("<tr><td>{first}<td>{second}<td>{third}</tr>\n"));
    }
    *page += "</table>\n";
}

fn name(name: &str, required: bool) -> String {
    format!("<code>{}</code>{}", escape(name), if required { " (required)" } else { "" })
}

/// The type of a schema, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(schema_name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#type-{0}\">{0}</a>", escape(schema_name));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if schema[choice].is_array() {
            let kinds = items(&schema[choice]).filter(|part| part["type"] != "null").map(kind);
            return kinds.collect::<Vec<_>>().join(if choice == "allOf" { " and " } else { " or " });
        }
    }
    if schema["enum"].is_array() {
        let values = items(&schema["enum"]).map(|value| format!("<code>{}</code>", escape(&value.to_string())));
        return values.collect::<Vec<_>>().join(" or ");
    }
    match type_name(&schema["type"]) {
        "array" => format!("array of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        other => escape(other),
    }
}

/// A type, or the first of several that is not null.
fn type_name(types: &Value) -> &str {
    types.as_str().or_else(|| items(types).map(text).find(|name| *name != "null")).unwrap_or("any")
}

/// A description, with the schema's bounds and an example.
fn described(schema: &Value, description: &str) -> String {
    let mut html = prose(description);
    let example = if schema["examples"][0].is_null() { &schema["example"] } else { &schema["examples"][0] };
    let bounds = [("minimum", "from"), ("maximum", "to"), ("maxLength", "at most so long:"), ("pattern", "pattern")];
    let mut notes: Vec<_> = bounds
        .iter()
        .filter(|(key, _)| !schema[*key].is_null())
        .map(|(key, words)| {
            let bound = schema[*key].as_str().map_or_else(|| schema[*key].to_string(), str::to_owned);
            format!("{words} <code>{}</code>", escape(&bound))
        })
        .collect();
    if !example.is_null() {
        notes.push(format!("such as <code>{}</code>", escape(&example.to_string())));
    }
    if !notes.is_empty() {
        add(&mut html, format_args!("<p>{}</p>\n", notes.join(", ")));
    }
    html
}

/// A text as paragraphs, in which backticks mark code.
fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    paragraphs.fold(String::new(), |mut html, paragraph| {
        html += "<p>";
        for (index, piece) in paragraph.split('`').enumerate() {
            let piece = escape(piece);
            if index % 2 == 1 { add(&mut html, format_args!("<code>{piece}</code>")) } else { html += &piece }
        }
        html + "</p>\n"
    })
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, character| {
        match character {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            other => html.push(other),
        }
        html
    })
}

fn add(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    _ = page.write_fmt(what);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_the_document_becomes_markup() {
        let evil = "<script>alert(\"1\")</script>'`<b>`";
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "tags": [{"name": evil, "description": evil}],
            "paths": {evil: {evil: {
                "tags": [evil], "operationId": evil, "summary": evil, "description": evil,
                "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"type": evil, "pattern": evil}}],
                "requestBody": {"content": {evil: {"schema": {"$ref": evil}}}},
                "responses": {evil: {"description": evil, "content": {evil: {"schema": {"enum": [evil]}}}}},
            }}},
            "components": {"schemas": {evil: {
                "type": "object", "description": evil, "required": [evil],
                "properties": {evil: {"type": "array", "items": {"type": evil}, "description": evil, "example": evil}},
                "oneOf": [{"type": evil, "properties": {evil: {"allOf": [{"type": evil}]}}}],
            }}},
        });
        let page = render(&document);
        for markup in ["<script", "<b>", "\"1\"", "'"] {
            let outside_style = page.replace(STYLE, "");
            assert!(!outside_style.contains(markup), "{markup} in {outside_style}");
        }
        assert!(page.contains("&lt;script&gt;"));
    }
}
