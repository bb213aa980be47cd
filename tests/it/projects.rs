//! Several people in several projects on one server, each asked for as that person would, with their own token: what
//! one project has, nobody of another sees.

use eyot_tests::{Answer, Eyot, Server, fixture, path};
use serde_json::{Value, json};

use crate::world::{World, text};

const PASSWORD: &str = "four unrelated words here";

/// A server with the owner `root`, and the users `ana` (deployer of `fraud`, viewer of `churn`) and `bo` (deployer of
/// `churn`).
struct Site {
    world: World,
    server: Server,
}

/// Somebody at another machine: no data folder, only a token and a server's address.
struct Person<'a> {
    site: &'a Site,
    token: String,
    eyot: Eyot,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let world = World::new();
        let server = world.up();
        let password = world.write("password", PASSWORD);
        for name in ["root", "ana", "bo"] {
            let added = world.eyot.command(&["user", "add", name, "--password-stdin"]);
            let mut added = added;
            added.stdin(std::fs::File::open(&password).unwrap());
            assert!(added.output().unwrap().status.success());
        }
        let local = |arguments: &[&str]| world.eyot.json(arguments).unwrap();
        local(&["project", "create", "fraud", "--member", "ana=deployer"]);
        local(&["project", "create", "churn", "--member", "ana=viewer", "--member", "bo=deployer"]);
        Self { world, server }
    }

    fn person(&self, user: &str) -> Person<'_> {
        let dir = tempfile::tempdir().unwrap();
        let body = json!({ "user": user, "password": PASSWORD }).to_string();
        let login = self.server.api_send("POST", "/api/v1/login", &[], body.as_bytes()).unwrap();
        assert_eq!(login.status, 200, "{}", login.text());
        let token = login.json()["secret"].as_str().unwrap().to_owned();
        let eyot = Eyot::new(dir.path().join("elsewhere")).unwrap();
        Person { site: self, token, eyot, _dir: dir }
    }
}

impl Person<'_> {
    fn eyot(&self, project: &str, arguments: &[&str]) -> Result<Value, String> {
        let all = [&["--server", &self.site.server.api, "--project", project][..], arguments].concat();
        let mut command = self.eyot.command(&[&["--json"], &all[..]].concat());
        let output = command.env("EYOT_TOKEN", &self.token).output().unwrap();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap_or_default()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let shown = format!("Bearer {}", self.token);
        let headers = [("authorization", shown.as_str()), ("content-type", "application/json")];
        self.site.server.api_send(method, path, &headers, body).unwrap()
    }
}

const FLOWER: &[u8] =
    br#"{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}"#;

#[test]
fn one_name_is_another_thing_in_each_project() {
    let site = Site::new();
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    let iris = fixture("iris-forest");
    for (person, project) in [(&ana, "fraud"), (&bo, "churn")] {
        let pushed = person.eyot(project, &["push", text(&iris), "--as", "iris:1.0.0"]).unwrap();
        assert_eq!(pushed["repository"], format!("{project}/iris"));
        let deployed = person.eyot(project, &["deploy", "iris:1.0.0", "--name", "iris"]).unwrap();
        assert_eq!((&deployed["name"], &deployed["project"]), (&json!("iris"), &json!(project)));
        let endpoint = format!("POST /p/{project}/v2/models/iris/infer");
        assert!(deployed["endpoints"].as_array().unwrap().contains(&json!(endpoint)), "{deployed}");
        let pulled = person.eyot(project, &["ls"]).unwrap();
        assert_eq!(pulled.as_array().unwrap().len(), 1, "{pulled}");
    }
    // Each is predicted by its path, or by one word.
    for (path, status) in [
        ("/p/fraud/v2/models/iris/infer", 200),
        ("/p/churn/v2/models/iris/infer", 200),
        ("/v2/models/fraud~iris/infer", 200),
        ("/v2/models/iris/infer", 404),
        ("/p/other/v2/models/iris/infer", 404),
        ("/p/fraud/v2/models/churn~iris/infer", 404),
    ] {
        let answer = site.server.post(path, FLOWER).unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    for (path, names) in
        [("/p/fraud/v2/models", json!(["iris"])), ("/v2/models", json!([])), ("/p/no/v2/models", json!([]))]
    {
        assert_eq!(site.server.get(path).unwrap().json()["models"], names, "{path}");
    }
    // What one takes away the other still has.
    ana.eyot("fraud", &["undeploy", "iris"]).unwrap();
    assert_eq!(site.server.post("/p/fraud/v2/models/iris/infer", FLOWER).unwrap().status, 404);
    assert_eq!(site.server.post("/p/churn/v2/models/iris/infer", FLOWER).unwrap().status, 200);
    ana.eyot("fraud", &["deploy", "iris:1.0.0", "--name", "iris"]).unwrap();

    // All of it is there after kill -9.
    let Site { world, server } = site;
    server.kill().unwrap();
    let server = world.up();
    for project in ["fraud", "churn"] {
        let path = format!("/p/{project}/v2/models/iris/infer");
        assert_eq!(server.post(&path, FLOWER).unwrap().status, 200, "{project}");
    }
    server.stop().unwrap();
}

#[test]
fn nobody_sees_a_project_that_they_are_not_in() {
    let site = Site::new();
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    ana.eyot("fraud", &["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
    ana.eyot("fraud", &["deploy", "iris:1.0.0", "--name", "iris"]).unwrap();
    // What is there and what is not is answered alike.
    let normal =
        |answer: Answer| (answer.status, answer.text().replace("nowhere", "fraud").replace("none", "iris"));
    for (method, path, body) in [
        ("GET", "/p/fraud/api/v1/deployments", &b""[..]),
        ("GET", "/p/fraud/api/v1/deployments/iris", b""),
        ("GET", "/p/fraud/api/v1/deployments/iris/logs", b""),
        ("GET", "/p/fraud/api/v1/deployments/iris/revisions", b""),
        ("PUT", "/p/fraud/api/v1/deployments/iris", br#"{"source": "iris:1.0.0"}"#),
        ("DELETE", "/p/fraud/api/v1/deployments/iris", b""),
        ("POST", "/p/fraud/api/v1/deployments/iris/rollback", b""),
        ("GET", "/p/fraud/api/v1/models", b""),
        ("GET", "/p/fraud/api/v1/pipeline-runs", b""),
        ("POST", "/p/fraud/api/v1/pipeline-runs", br#"{"source": "", "file": ""}"#),
        ("GET", "/p/fraud/api/v1/events?follow=false&after=0", b""),
        ("GET", "/p/fraud/api/v1/members", b""),
        ("PUT", "/p/fraud/api/v1/members/bo", br#"{"role": "admin"}"#),
        ("POST", "/p/fraud/api/v1/services", br#"{"name": "x", "role": "viewer"}"#),
        ("GET", "/p/fraud/api/v1/whoami", b""),
        ("GET", "/p/fraud/api/v1/audit", b""),
    ] {
        let hidden = bo.ask(method, path, body);
        assert_eq!(hidden.status, 404, "{method} {path}: {}", hidden.text());
        let absent = bo.ask(method, &path.replace("/p/fraud", "/p/nowhere"), body);
        assert_eq!(normal(hidden), normal(absent), "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/v2/fraud/iris/manifests/1.0.0"),
        ("GET", "/v2/fraud/iris/tags/list"),
        ("POST", "/v2/fraud/iris/blobs/uploads/"),
        ("DELETE", "/v2/fraud/iris/manifests/1.0.0"),
    ] {
        let hidden = bo.ask(method, path, b"");
        assert_eq!(hidden.status, 403, "{method} {path}: {}", hidden.text());
    }
    assert_eq!(bo.ask("GET", "/v2/_catalog", b"").json()["repositories"], json!([]));
    let resolve = "/api/v1/artifacts/resolve?reference=fraud/iris:1.0.0";
    for path in [resolve.to_owned(), format!("/p/churn{resolve}")] {
        assert_eq!(bo.ask("GET", &path, b"").status, 404, "{path}");
    }
    for source in ["fraud/iris:1.0.0", "models://fraud/iris@champion"] {
        let refused = bo.eyot("churn", &["deploy", source, "--name", "stolen"]).unwrap_err();
        assert!(refused.contains("there is no"), "{refused}");
    }
    let names = |answer: Answer| {
        let projects: Vec<_> =
            answer.json().as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        json!(projects)
    };
    assert_eq!(names(bo.ask("GET", "/api/v1/projects", b"")), json!(["churn"]));
    assert_eq!(names(ana.ask("GET", "/api/v1/projects", b"")), json!(["churn", "fraud"]));

    // A viewer of both may read there and nothing more.
    assert_eq!(ana.ask("GET", "/p/churn/api/v1/deployments", b"").status, 200);
    let refused = ana.ask("PUT", "/p/churn/api/v1/deployments/iris", br#"{"source": "fraud/iris:1.0.0"}"#);
    assert_eq!(refused.status, 403, "{}", refused.text());
    // Somebody who is nobody is told to say who they are, whatever they ask for.
    for path in ["/p/fraud/api/v1/deployments", "/p/nowhere/api/v1/deployments", "/api/v1/projects"] {
        assert_eq!(site.server.api_get(path).unwrap().status, 401, "{path}");
    }
    site.server.stop().unwrap();
}

#[test]
fn a_project_is_named_by_path_header_or_token() {
    let site = Site::new();
    let root = site.person("root");
    let shown = format!("Bearer {}", root.token);
    let project = |path: &str, header: Option<&str>, token: &str| {
        let mut headers = vec![("authorization", token)];
        headers.extend(header.map(|header| ("x-mlflow-workspace", header)));
        let answer = site.server.api_send("GET", &format!("{path}/api/v1/whoami"), &headers, b"").unwrap();
        match answer.status {
            200 => answer.json()["project"].as_str().unwrap().to_owned(),
            status => status.to_string(),
        }
    };
    let service = root.eyot("fraud", &["service", "create", "ci", "--role", "editor"]).unwrap();
    let service = format!("Bearer {}", service["secret"].as_str().unwrap());
    for (path, header, token, expected) in [
        ("", None, &shown, "default"),
        ("/p/fraud", None, &shown, "fraud"),
        ("", Some("fraud"), &shown, "fraud"),
        ("/p/fraud", Some("fraud"), &shown, "fraud"),
        ("/p/fraud", Some("churn"), &shown, "400"),
        ("", Some("No Name"), &shown, "400"),
        ("", Some("nowhere"), &shown, "404"),
        ("", None, &service, "fraud"),
        ("/p/fraud", None, &service, "fraud"),
        ("/p/churn", None, &service, "404"),
        ("/p/default", None, &service, "default"),
    ] {
        assert_eq!(project(path, header, token), expected, "{path} {header:?}");
    }
    site.server.stop().unwrap();
}

#[test]
fn pipelines_and_their_models_stay_in_the_project() {
    let site = Site::new();
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    let Some(steps) = eyot_tests::component("digits-steps") else { return };
    for (person, project) in [(&ana, "fraud"), (&bo, "churn")] {
        person.eyot(project, &["push", text(&steps), "--as", "digits-steps:0.1.0"]).unwrap();
        let file = path("components/examples/digits/pipeline.toml");
        let run = person.eyot(project, &["run", text(&file)]).unwrap();
        // The same steps on the same data, and yet nothing comes out of another project's cache.
        let statuses: Vec<_> =
            run["steps"].as_array().unwrap().iter().map(|step| step["status"].as_str().unwrap()).collect();
        assert!(statuses.iter().all(|status| *status == "succeeded"), "{project}: {statuses:?}");
        let models = person.eyot(project, &["models"]).unwrap();
        assert_eq!(models.as_array().unwrap().len(), 1, "{models}");
        let deployed =
            person.eyot(project, &["deploy", "models:/digits@champion", "--name", "digits"]).unwrap();
        assert_eq!(deployed["revision"], 1);
        let id = run["id"].as_str().unwrap();
        let other = if project == "fraud" { &bo } else { &ana };
        for path in ["", "/lineage", "/artifacts/train/model"] {
            let path = format!("/p/churn/api/v1/pipeline-runs/{id}{path}");
            let expected = if project == "fraud" { 404 } else { 200 };
            let asked = other.ask("GET", &path, b"");
            assert!(
                asked.status == expected || project == "churn" && asked.status == 404,
                "{path}: {}",
                asked.text()
            );
        }
    }
    // Who knows the digest of what another project has does not read it by that.
    let listed = ana.ask("GET", "/v2/fraud/pipelines/digits/tags/list", b"");
    assert!(matches!(listed.status, 200 | 404));
    let digest = format!("sha256:{}", "0".repeat(64));
    let body = json!({ "source": "", "file": "x.toml", "inputs": { "data": digest } }).to_string();
    let refused = bo.ask("POST", "/p/churn/api/v1/pipeline-runs", body.as_bytes());
    assert_eq!(refused.status, 404, "{}", refused.text());
    site.server.stop().unwrap();
}

#[test]
fn events_of_a_project_are_told_in_it() {
    let site = Site::new();
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    ana.eyot("fraud", &["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
    bo.eyot("churn", &["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
    let ids = |person: &Person<'_>, project: &str| {
        let path = format!("/p/{project}/api/v1/events?follow=false&after=0&topics=artifact");
        let text = person.ask("GET", &path, b"").text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
        events.iter().map(|event| event["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&ana, "fraud"), ["fraud/iris"]);
    assert_eq!(ids(&bo, "churn"), ["churn/iris"]);
    assert_eq!(ids(&ana, "churn"), ["churn/iris"]);
    // A stream ends soon after the place in the project that it was opened from.
    let events = format!("{}/p/churn/api/v1/events", site.server.api);
    let stream = ureq::get(events).header("authorization", &format!("Bearer {}", bo.token)).call().unwrap();
    site.world.eyot.json(&["--project", "churn", "project", "unset", "bo"]).unwrap();
    let told = stream.into_body().read_to_string().unwrap();
    assert!(!told.contains("data:"), "it was told who is a member: {told}");
    // Who joins and leaves is told to those who manage that.
    let people = |person: &Person<'_>| {
        let path = "/p/fraud/api/v1/events?follow=false&after=0&topics=project,user,token";
        person.ask("GET", path, b"").text().matches("\ndata:").count()
    };
    assert_eq!(people(&ana), 0);
    assert!(people(&site.person("root")) > 0);
    site.server.stop().unwrap();
}

#[test]
fn a_person_signs_in_on_the_command_line_and_out_again() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let eyot = Eyot::new(dir.path().join("elsewhere")).unwrap();
    let file = dir.path().join("credentials.json");
    let run = |arguments: &[&str], input: &str| {
        let mut command = eyot.command(arguments);
        let given = dir.path().join("input");
        std::fs::write(&given, input).unwrap();
        command.stdin(std::fs::File::open(&given).unwrap()).env("EYOT_CREDENTIALS", &file);
        let output = command.output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&all).into_owned())
    };
    let api = site.server.api.clone();
    let login = ["login", &api, "--user", "ana", "--password-stdin"];
    let (went, said) = run(&login, "wrong wrong wrong");
    assert!(!went && said.contains("no such user with that password"), "{said}");
    let (went, said) = run(&login, PASSWORD);
    assert!(went && said.contains("signed in"), "{said}");
    assert!(!said.contains("eyot_"), "the secret is shown: {said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (went, said) = run(&["--server", &api, "whoami"], "");
    assert!(went && said.contains("user:ana") && said.contains("fraud"), "{said}");
    let (went, said) = run(&["logout", &api], "");
    assert!(went && said.contains("signed out"), "{said}");
    let (went, said) = run(&["--server", &api, "whoami"], "");
    assert!(!went && said.contains("eyot login"), "{said}");
    let log = site.server.log();
    assert!(!log.contains(PASSWORD) && !log.contains("eyot_"), "{log}");
    site.server.stop().unwrap();
}

#[test]
fn a_browser_signs_in_and_sees_what_is_its_users() {
    let site = Site::new();
    let origin = site.server.api.clone();
    let form = |password: &str, extra: &[(&str, &str)]| {
        let body = format!("user=ana&password={}", password.replace(' ', "+"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers = [&[form, ("origin", origin.as_str())][..], extra].concat();
        site.server.api_send("POST", "/sign-in", &headers, body.as_bytes()).unwrap()
    };
    assert_eq!(form("wrong wrong wrong", &[]).status, 403);
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(form(PASSWORD, &foreign).status, 403, "another page signs nobody in");
    let signed_in = form(PASSWORD, &[("sec-fetch-site", "same-origin")]);
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let ask = |method: &str, path: &str, extra: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())][..], extra].concat();
        site.server.api_send(method, path, &headers, b"").unwrap()
    };
    assert!(ask("GET", "/", &[]).text().contains("signed in as <b>ana</b>"));
    assert_eq!(ask("GET", "/p/fraud/api/v1/deployments", &[]).status, 200);
    assert_eq!(ask("GET", "/api/v1/users", &[]).status, 403);
    // The cookie goes with what another page sends, and does nothing for it.
    let foreign = [("origin", "http://evil.example"), ("content-type", "application/json")];
    assert_eq!(ask("DELETE", "/p/fraud/api/v1/deployments/iris", &foreign).status, 403);
    assert_eq!(ask("POST", "/sign-out", &[("origin", &origin)]).status, 303);
    assert_eq!(ask("GET", "/p/fraud/api/v1/deployments", &[]).status, 401);
    site.server.stop().unwrap();
}

#[test]
fn endpoints_are_for_those_who_have_a_part_in_their_project() {
    let site = Site::new();
    for (user, project) in [("ana", "fraud"), ("bo", "churn")] {
        let person = site.person(user);
        person.eyot(project, &["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
        person.eyot(project, &["deploy", "iris:1.0.0", "--name", "iris"]).unwrap();
    }
    let Site { world, server } = site;
    server.stop().unwrap();
    let server = world.eyot.up_with(&["gateway.access=project"]).unwrap();
    let site = Site { world, server };
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    let infer = |path: &str, token: Option<&str>| {
        let shown = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = shown.iter().map(|shown| ("authorization", shown.as_str())).collect();
        site.server.send("POST", path, &headers, FLOWER).unwrap()
    };
    for (path, token, status) in [
        ("/p/fraud/v2/models/iris/infer", None, 401),
        ("/p/fraud/v2/models/iris/infer", Some("eyot_wrong"), 401),
        ("/p/nowhere/v2/models/iris/infer", None, 401),
        ("/p/fraud/v2/models/iris/infer", Some(ana.token.as_str()), 200),
        ("/v2/models/fraud~iris/infer", Some(&ana.token), 200),
        ("/p/churn/v2/models/iris/infer", Some(&ana.token), 200),
        ("/p/fraud/v2/models/iris/infer", Some(&bo.token), 404),
        ("/p/nowhere/v2/models/iris/infer", Some(&bo.token), 404),
        ("/v2/models/iris/infer", Some(&bo.token), 403),
        ("/p/fraud/fn/iris/f", None, 401),
    ] {
        let answer = infer(path, token);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{path}");
    }
    for path in ["/v2", "/v2/health/live", "/v2/health/ready", "/metrics"] {
        assert_eq!(site.server.get(path).unwrap().status, 200, "{path}");
    }
    for path in
        ["/v2/models", "/p/fraud/v2/models", "/p/fraud/v2/models/iris", "/p/fraud/v2/models/iris/docs"]
    {
        assert_eq!(site.server.get(path).unwrap().status, 401, "{path}");
    }
    let request = String::from_utf8(FLOWER.to_vec()).unwrap();
    let predicted = ana.eyot("fraud", &["predict", "iris", &request]).unwrap();
    assert!(predicted["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty()), "{predicted}");
    assert!(bo.eyot("fraud", &["predict", "iris", &request]).is_err());
    site.server.stop().unwrap();
}

#[test]
fn functions_are_called_below_their_project_and_never_past_it() {
    let site = Site::new();
    let Some(functions) = eyot_tests::component("testing-functions") else { return };
    let person = site.person("ana");
    person.eyot("fraud", &["push", text(&functions), "--as", "functions:0.1.0"]).unwrap();
    person.eyot("fraud", &["deploy", "functions:0.1.0", "--name", "f"]).unwrap();
    let Site { world, server } = site;
    server.stop().unwrap();
    let server = world.eyot.up_with(&["gateway.access=project"]).unwrap();
    let site = Site { world, server };
    let (ana, bo) = (site.person("ana"), site.person("bo"));
    let ask = |method: &str, path: &str, token: Option<&str>| {
        let shown = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = shown.iter().map(|shown| ("authorization", shown.as_str())).collect();
        site.server.send(method, path, &headers, br#"{"name": "Ann"}"#).unwrap()
    };
    let (ana, bo, nobody) = (Some(ana.token.as_str()), Some(bo.token.as_str()), None);
    for (method, path, token, status) in [
        ("POST", "/p/fraud/fn/f/greet", ana, 200),
        ("POST", "/p/fraud/fn/f@1/greet", ana, 200),
        ("POST", "/p/fraud/fn/f@2/greet", ana, 404),
        ("POST", "/fn/fraud~f/greet", ana, 200),
        ("POST", "/fn/fraud%7Ef/greet", ana, 200),
        ("GET", "/p/fraud/fn/f", ana, 200),
        ("GET", "/p/fraud/fn/f/openapi.json", ana, 200),
        ("GET", "/p/fraud/fn/f/docs", ana, 200),
        ("POST", "/p/fraud/fn/f/greet", bo, 404),
        // An escape is another way to write a name, not a way past who may call it.
        ("POST", "/fn/fraud~f/greet", bo, 404),
        ("POST", "/fn/fraud%7Ef/greet", bo, 404),
        ("POST", "/fn/fraud%7ef@1/greet", bo, 404),
        ("POST", "/fn/%66raud~f/greet", bo, 404),
        ("POST", "/p/churn/fn/fraud%7Ef/greet", bo, 404),
        ("GET", "/fn/fraud%7Ef", bo, 404),
        ("GET", "/fn/fraud%7Ef/openapi.json", bo, 404),
        ("POST", "/fn/fraud%7Ef/greet", nobody, 401),
        ("GET", "/fn/fraud%7Ef/docs", nobody, 401),
        ("GET", "/p/fraud/fn/f", nobody, 401),
        ("GET", "/fn/-/try.js", nobody, 200),
    ] {
        let answer = ask(method, path, token);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let document = ask("GET", "/fn/fraud~f/openapi.json", ana).json();
    assert!(document["paths"].get("/p/fraud/fn/f/greet").is_some(), "{document}");
    site.server.stop().unwrap();
}
