//! The schemas as others read them: what the page and generated clients are made of.

use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(components(schemas(
    api::Page<api::Network>,
    api::Page<api::Host>,
    api::Page<api::Node>,
    api::Page<api::Key>,
    api::Page<api::JournalEntry>,
    api::AddNode,
    api::CreateKey,
    api::CreateNetwork,
    api::CreatedKey,
    api::Login,
    api::Me,
    api::PatchHost,
    api::ServerStatus,
    api::Session,
    api::Setup,
)))]
struct Everything;

fn schemas() -> Value {
    let document = serde_json::to_value(Everything::openapi()).expect("the document is JSON");
    document["components"]["schemas"].clone()
}

#[test]
fn requests_admit_no_other_fields() {
    let schemas = schemas();
    for name in ["AddNode", "CreateKey", "CreateNetwork", "Login", "PatchHost", "Setup"] {
        assert_eq!(schemas[name]["additionalProperties"], json!(false), "{name}");
    }
}

#[test]
fn a_page_names_its_items_and_bounds_are_stated() {
    let schemas = schemas();
    let item = &schemas["Page_Network"]["properties"]["items"]["items"]["properties"];
    assert_eq!(item["name"]["$ref"], "#/components/schemas/NetworkName");
    assert_eq!(schemas["NetworkName"]["maxLength"], 32);
    assert_eq!(schemas["NewPassword"]["minLength"], 10);
}

#[test]
fn what_can_be_cleared_is_nullable_and_not_required() {
    let patch = schemas()["PatchHost"].clone();
    assert!(patch.get("required").is_none(), "{patch}");
    assert_eq!(patch["properties"]["mtu"]["oneOf"][1]["type"], "null", "{patch}");
}

#[test]
fn every_reference_leads_somewhere() {
    let schemas = schemas();
    let text = schemas.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(schemas.get(name).is_some(), "{name} is missing");
    }
}

#[test]
fn query_parameters_are_optional() {
    let parameters =
        api::HostFilter::into_params(|| None).into_iter().chain(api::Paging::into_params(|| None));
    for parameter in parameters {
        let parameter = serde_json::to_value(parameter).expect("a parameter is JSON");
        assert_eq!(
            (&parameter["in"], &parameter["required"]),
            (&json!("query"), &json!(false)),
            "{parameter}"
        );
    }
}
