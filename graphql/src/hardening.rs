//! What a document may be before it is run: bounds that the library has none of, judged before it follows
//! any fragment. The library follows each spread anew, so that a few hundred bytes keep it busy for hours.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextPrepareRequest, NextRequest, NextSubscribe,
};
use async_graphql::futures_util::StreamExt as _;
use async_graphql::futures_util::stream::BoxStream;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Request, Response, ServerError, ServerResult, Value};
use hookseal_core::limits::{MUTATION_VALUES, VARIABLE_VALUES};

/// Longest document, in bytes.
pub(crate) const DOCUMENT_BYTES: usize = 32 * 1024;
/// Most selections of a document, those of a fragment counted wherever it is spread.
const SELECTIONS: usize = 2000;
/// Most aliases of a document, counted alike: each lets a field be asked for once more.
const ALIASES: usize = 30;
/// Most fields side by side, counted alike; more than any type has.
const FIELDS: usize = 60;
/// Most questions for the schema itself: their lists count as one item each.
const INTROSPECTIONS: usize = 2;
/// Most lists of a type's own, such as its fields, within each other: types lead in circles.
const TYPES_WITHIN: usize = 1;
/// Most directives on anything.
const DIRECTIVES: usize = 5;
/// Most fragments of a document.
const FRAGMENTS: usize = 100;
/// Most variables, declared or given; `core`'s limits say how much may be in them.
const VARIABLES: usize = 100;
/// Bytes of a text that count as one value.
const TEXT_BYTES: usize = 64;
/// Most errors that are told of one document.
const ERRORS: usize = 20;
/// Longest message of an error, in characters: those of the library repeat what was sent.
const MESSAGE_CHARS: usize = 500;

/// Refuses documents that are too much, as soon as they are parsed.
pub(crate) struct Hardening;

impl ExtensionFactory for Hardening {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Hardening {
    async fn request(&self, context: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        told(next.run(context).await)
    }

    fn subscribe<'s>(
        &self,
        context: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(context, stream).map(told).boxed()
    }

    async fn prepare_request(
        &self,
        context: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        at_most(DOCUMENT_BYTES, request.query.len(), "bytes")?;
        at_most(VARIABLES, request.variables.len(), "variables")?;
        let document = request.parsed_query().map_err(unparsed)?;
        judge(document)?;
        let most = values_of(document);
        at_most(most, counted(request.variables.iter(), most, 0), "values in variables")?;
        next.run(context, request).await
    }
}

fn judge(document: &ExecutableDocument) -> ServerResult<()> {
    // They are followed one from within the other.
    at_most(FRAGMENTS, document.fragments.len(), "fragments")?;
    let mut sizes = Sizes { document, fragments: HashMap::new() };
    let mut whole = Size::default();
    for (_, operation) in document.operations.iter() {
        at_most(VARIABLES, operation.node.variable_definitions.len(), "variables")?;
        few(&operation.node.directives)?;
        for variable in &operation.node.variable_definitions {
            few(&variable.node.directives)?;
        }
        let size = sizes.of_set(&operation.node.selection_set)?;
        if operation.node.ty == OperationType::Subscription {
            at_most(1, size.fields, "field of a subscription")?;
        }
        whole = whole.beside(size.below());
    }
    // Those that nobody spreads are walked, too, before they are refused for that.
    for (name, fragment) in &document.fragments {
        few(&fragment.node.directives)?;
        let selections = sizes.of_fragment(name)?.selections;
        whole.selections = whole.selections.saturating_add(selections);
    }
    at_most(SELECTIONS, whole.selections, "selections")?;
    at_most(ALIASES, whole.aliases, "aliases")?;
    at_most(FIELDS, whole.widest, "fields side by side")?;
    at_most(INTROSPECTIONS, whole.introspections, "questions for the schema")?;
    at_most(TYPES_WITHIN, whole.types_within, "list of a type within a type")
}

/// Most values that the variables of a document may have.
fn values_of(document: &ExecutableDocument) -> usize {
    let mut operations = document.operations.iter();
    let only_changes = operations.all(|(_, it)| it.node.ty == OperationType::Mutation);
    if only_changes { MUTATION_VALUES } else { VARIABLE_VALUES }
}

/// `found` and the values that `members` have in them; no further than is too much. A text counts as one for
/// each so many bytes of it, and so does a name.
fn counted<'a>(
    members: impl Iterator<Item = (&'a Name, &'a Value)>,
    most: usize,
    mut found: usize,
) -> usize {
    for (name, value) in members {
        found = counted_in(value, most, found + name.len() / TEXT_BYTES);
        if found > most {
            break;
        }
    }
    found
}

fn counted_in(value: &Value, most: usize, found: usize) -> usize {
    let found = found + 1;
    match value {
        Value::String(text) => found + text.len() / TEXT_BYTES,
        Value::List(items) => items.iter().fold(found, |found, item| {
            if found > most { found } else { counted_in(item, most, found) }
        }),
        Value::Object(members) => counted(members.iter(), most, found),
        Value::Null | Value::Number(_) | Value::Boolean(_) | Value::Binary(_) | Value::Enum(_) => {
            found
        }
    }
}

/// How much a selection set asks for, its fragments included.
#[derive(Clone, Copy, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    introspections: usize,
    /// The most lists of a type's own on one path.
    types_within: usize,
    /// Fields of the set itself.
    fields: usize,
    /// The most fields of any set below it.
    widest: usize,
}

impl Size {
    /// Both, in one set.
    fn beside(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            introspections: self.introspections.saturating_add(other.introspections),
            types_within: self.types_within.max(other.types_within),
            fields: self.fields.saturating_add(other.fields),
            widest: self.widest.max(other.widest),
        }
    }

    /// A set, seen from the field or the operation that it belongs to.
    fn below(self) -> Self {
        Self { widest: self.widest.max(self.fields), fields: 0, ..self }
    }
}

/// Sizes of the fragments of a document, each measured once.
struct Sizes<'a> {
    document: &'a ExecutableDocument,
    /// None while it is measured: a fragment that is met then spreads itself.
    fragments: HashMap<&'a Name, Option<Size>>,
}

impl<'a> Sizes<'a> {
    fn of_set(&mut self, set: &'a Positioned<SelectionSet>) -> ServerResult<Size> {
        let mut size = Size::default();
        for selection in &set.node.items {
            few(selection.node.directives())?;
            let mut one = match &selection.node {
                Selection::Field(field) => {
                    let mut one = self.of_set(&field.node.selection_set)?.below();
                    let name = field.node.name.node.as_str();
                    one.fields = 1;
                    let alias = usize::from(field.node.alias.is_some());
                    one.aliases = one.aliases.saturating_add(alias);
                    let introspection = usize::from(name == "__schema" || name == "__type");
                    one.introspections = one.introspections.saturating_add(introspection);
                    let lists = ["fields", "inputFields", "interfaces", "possibleTypes"];
                    let within = usize::from(lists.contains(&name));
                    one.types_within = one.types_within.saturating_add(within);
                    one
                }
                Selection::InlineFragment(fragment) => self.of_set(&fragment.node.selection_set)?,
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(&spread.node.fragment_name.node)?
                }
            };
            one.selections = one.selections.saturating_add(1);
            size = size.beside(one);
        }
        Ok(size)
    }

    fn of_fragment(&mut self, name: &'a Name) -> ServerResult<Size> {
        match self.fragments.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(refused(format!("query: fragment {name} spreads itself"))),
            None => {}
        }
        // An unknown one is the library's to refuse.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.fragments.insert(name, None);
        let size = self.of_set(&fragment.node.selection_set)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }
}

fn few(directives: &[Positioned<Directive>]) -> ServerResult<()> {
    at_most(DIRECTIVES, directives.len(), "directives on one thing")
}

fn at_most(most: usize, found: usize, what: &str) -> ServerResult<()> {
    if found > most {
        Err(refused(format!("query: expected at most {most} {what}")))
    } else {
        Ok(())
    }
}

fn refused(message: String) -> ServerError {
    ServerError::new(message, None)
}

/// Keeps of a syntax error what was expected and where: the rest repeats what was sent.
fn unparsed(mut error: ServerError) -> ServerError {
    if let Some((_, expected)) = error.message.rsplit_once("\n  = ") {
        let too_deep = expected.ends_with("limit reached");
        let expected = if too_deep { "expected less nesting" } else { expected };
        error.message = format!("query: {expected}");
    }
    error
}

/// Errors of the library as ours are: each with a code, none long, none with a value, and of a refusal not too
/// many.
fn told(mut response: Response) -> Response {
    if response.data == Value::Null {
        response.errors.truncate(ERRORS);
    }
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "BAD_REQUEST");
            error.message = without_value(&error.message);
        }
        if let Some((end, _)) = error.message.char_indices().nth(MESSAGE_CHARS) {
            error.message.truncate(end);
            error.message.push('…');
        }
    }
    response
}

/// Keeps of a message of the library what tells the rule: a value that is repeated may be a private key. What
/// it begins with says where a value may stand; within the value anything may.
fn without_value(message: &str) -> String {
    let until = |end: &str| message.split(end).next().unwrap_or_default().to_owned();
    if let Some((kind, fault)) = message.split_once("\": ")
        && kind.starts_with("Failed to parse ")
    {
        let rule = match fault.rsplit_once("expected ") {
            Some((_, expected)) if fault.starts_with("invalid ") => format!("expected {expected}"),
            _ if fault.starts_with("the value length is ") => fault.to_owned(),
            _ if fault.starts_with("Only ") => fault.to_owned(),
            Some(_) | None => "expected another value".to_owned(),
        };
        return format!("{kind}\": {rule}");
    }
    if message.starts_with("Expected input type ") {
        return until(", found ");
    }
    if message.starts_with("Unknown operation ") {
        return until(" named ");
    }
    // An enumeration's; all that stands before is the schema's or a name.
    until(" the value \"")
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use hookseal_core::limits::DATA_BYTES;

    use super::*;

    fn fragments(count: usize, width: usize) -> String {
        let fragment =
            |n| format!("fragment F{n} on Q {{ {} }}", format!("...F{} ", n + 1).repeat(width));
        let all: String = (0..count).map(fragment).collect();
        format!("{{ ...F0 }} {all} fragment F{count} on Q {{ a }}")
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn a_message_of_the_library_tells_the_rule_and_never_the_value() {
        let whole = |message: &'static str| (message, message);
        for (message, told_as) in [
            (r#"Failed to parse "JSON": invalid type: string "s3cret", expected a map"#,
             r#"Failed to parse "JSON": expected a map"#),
            (r#"Failed to parse "JSON": invalid type: string "s3cret, expected \" s3cret", expected a map (occurred while parsing "NewEncryptionKeyInput")"#,
             r#"Failed to parse "JSON": expected a map (occurred while parsing "NewEncryptionKeyInput")"#),
            (r#"Failed to parse "DeliveryStatus": Enumeration type does not contain value "expected s3cret"."#,
             r#"Failed to parse "DeliveryStatus": expected another value"#),
            (r#"Expected input type "String", found {s3cret: ", found s3cret"}."#,
             r#"Expected input type "String""#),
            (r#"Expected input type "ID", found "s3cret" (occurred while parsing "X")."#,
             r#"Expected input type "ID""#),
            (r#"Invalid value for argument "status", enumeration type "DeliveryStatus" does not contain the value "s3cret the value \"s3cret""#,
             r#"Invalid value for argument "status", enumeration type "DeliveryStatus" does not contain"#),
            (r#"Unknown operation named "s3cret""#,
             "Unknown operation"),
            whole(r#"Failed to parse "[String!]": the value length is 101, must be less than or equal to 100 (occurred while parsing "NewEndpointInput")"#),
            whole(r#"Failed to parse "Int": Only integers from -2147483648 to 2147483647 are accepted."#),
            whole(r#"Invalid value for argument "input.url", expected type "String""#),
            whole(r#"Variable "$a" is not defined"#),
        ] {
            let error = ServerError::new(message, None);
            let response = told(Response::from_errors(vec![error]));
            assert_eq!(response.errors[0].message, told_as);
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn values_are_counted_within_each_other_and_many_of_them_for_a_mutation_only() {
        let zeros = |count: usize| Value::List(vec![Value::from(0); count]);
        let within = |value: Value| Value::List(vec![value]);
        let named = |name: &str, value: Value| Value::Object([(Name::new(name), value)].into_iter().collect());
        let text = |bytes: usize| Value::from("t".repeat(bytes));
        let event = zeros(DATA_BYTES / 2);
        for (document, value, fits) in [
            ("{ a }",                         zeros(VARIABLE_VALUES - 1),                 true),
            ("{ a }",                         zeros(VARIABLE_VALUES),                     false),
            ("{ a }",                         within(zeros(VARIABLE_VALUES - 1)),         false),
            ("{ a }",                         named("n", zeros(VARIABLE_VALUES - 1)),     false),
            ("{ a }",                         text(TEXT_BYTES * (VARIABLE_VALUES - 1)),   true),
            ("{ a }",                         text(TEXT_BYTES * VARIABLE_VALUES),         false),
            ("{ a }",                         named(&"n".repeat(TEXT_BYTES * VARIABLE_VALUES), zeros(0)), false),
            ("subscription { a }",            zeros(VARIABLE_VALUES),                     false),
            ("mutation { a }",                event.clone(),                              true),
            ("mutation A { a } query B { a }", event,                                     false),
            ("mutation { a }",                zeros(MUTATION_VALUES),                     false),
        ] {
            let most = values_of(&parse_query(document).expect("it can be parsed"));
            let found = counted([(&Name::new("v"), &value)].into_iter(), most, 0);
            assert_eq!(found <= most, fits, "{document}: {found} of {most}");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn documents_are_judged_as_they_are_when_fragments_are_followed() {
        let aliases = |count| (0..count).map(|n| format!("a{n}: b ")).collect::<String>();
        let many = |part: &str, count| part.repeat(count);
        for (document, refusal) in [
            (format!("{{ {} }}", aliases(30)),                                         None),
            (format!("{{ {} }}", aliases(31)),                                         Some("30 aliases")),
            (format!("{{ ...F b {{ ...F }} }} fragment F on Q {{ {} }}", aliases(15)), None),
            (format!("{{ ...F b {{ ...F }} }} fragment F on Q {{ {} }}", aliases(16)), Some("30 aliases")),
            (format!("{{ {} }}", many("a ", 60)),                                      None),
            (format!("{{ {} }}", many("a ", 61)),                                      Some("60 fields")),
            (format!("{{ {} ...F }} fragment F on Q {{ {} }}", many("a ", 30), many("a ", 30)),      None),
            (format!("{{ {} ... {{ ...F }} }} fragment F on Q {{ {} }}", many("a ", 30), many("a ", 31)), Some("60 fields")),
            (format!("{{ a {{ {} }} }}", many("b ", 61)),                              Some("60 fields")),
            (fragments(5, 2),                                                          None),
            (fragments(6, 2),                                                          Some("60 fields")),
            (fragments(10, 2),                                                         Some("2000 selections")),
            (fragments(40, 1),                                                         None),
            (fragments(100, 1),                                                        Some("100 fragments")),
            (fragments(90, 300),                                                       Some("2000 selections")),
            ("{ ...A } fragment A on Q { b { ...A } }".into(),                         Some("spreads itself")),
            ("{ a } fragment A on Q { ...B } fragment B on Q { ...A }".into(),         Some("spreads itself")),
            ("{ __schema { a } __type { a } }".into(),                                 None),
            ("{ __schema { a } ...F } fragment F on Q { __type { a } b: __schema { a } }".into(), Some("2 questions")),
            ("{ __schema { a { fields { b { c } } fields { d } inputFields { e } } } }".into(), None),
            ("{ __schema { a { fields { b { inputFields { c } } } } } }".into(),      Some("within a type")),
            ("{ __schema { a { fields { ...F } } } } fragment F on T { b { fields { c } } }".into(), Some("within a type")),
            ("subscription { ...F } fragment F on S { a { b c } }".into(),             None),
            ("subscription { ...F } fragment F on S { a b }".into(),                   Some("1 field of")),
            (format!("{{ a {} }}", many("@b ", 5)),                                    None),
            (format!("query {} {{ a }}", many("@b ", 6)),                              Some("5 directives")),
        ] {
            let judged = judge(&parse_query(&document).expect("it can be parsed"));
            let said = judged.err().map(|error| error.message);
            let as_expected = match (&said, refusal) {
                (None, None) => true,
                (Some(said), Some(refusal)) => said.contains(refusal),
                _ => false,
            };
            assert!(as_expected, "{document}: {said:?}");
        }
    }
}
