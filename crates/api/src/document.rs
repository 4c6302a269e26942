//! The head of the OpenAPI document: title, the bearer scheme, the tags. The server adds what it serves.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let about = "A token from `POST /api/v1/login`, or an API token.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Netloom",
        description = "The administrators' API of a Netloom server. Lists come in pages; errors are problem details \
                       (RFC 9457, `application/problem+json`); times are RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
    components(schemas(crate::Problem)),
    tags(
        (name = "session", description = "Set-up, log-in, and the own account"),
        (name = "users", description = "Accounts"),
        (name = "tokens", description = "API tokens of the own account"),
        (name = "networks", description = "Networks and their nodes"),
        (name = "clients", description = "Remote access: plain WireGuard apps"),
        (name = "egress", description = "Ways to ranges outside of a network"),
        (name = "policies", description = "Who may open connections to whom, and tests of that"),
        (name = "dns", description = "Records and name servers of a network"),
        (name = "hosts", description = "Machines"),
        (name = "keys", description = "Enrollment keys"),
        (name = "server", description = "State, journal, backup"),
    ),
)]
struct Head;

/// The document without any path. Give it to `OpenApiRouter::with_openapi`.
pub fn document() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_openapi_3_1_with_the_bearer_scheme() {
        let json = serde_json::to_value(document()).unwrap();
        assert!(json["openapi"].as_str().unwrap().starts_with("3.1"));
        assert_eq!(json["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        assert!(json["components"]["schemas"]["Problem"].is_object());
    }
}
