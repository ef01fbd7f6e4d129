//! The real docker-registry, where it is installed.

use super::*;

/// The real docker-registry, run on a port of this machine; it ends when it is dropped.
struct RealRegistry {
    process: std::process::Child,
    host: String,
    directory: tempfile::TempDir,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl RealRegistry {
    /// Starts it with additional configuration, in which `DIR` stands for its directory; `None` if there is none.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn start(http: &str, rest: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let program = [
            "/usr/bin/docker-registry",
            "/usr/local/bin/registry",
            "/bin/registry",
        ]
        .into_iter()
        .find(|program| Path::new(program).exists());
        let Some(program) = program else {
            eprintln!("SKIPPED: docker-registry is not installed");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        prepare(directory.path());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let here = directory.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: DIR/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: x\n{http}{rest}"
        );
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config.replace("DIR", &here)).expect("a file");
        let process = std::process::Command::new(program)
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self {
            process,
            host: format!("127.0.0.1:{port}"),
            directory,
        };
        for _ in 0..200 {
            if std::net::TcpStream::connect(&registry.host).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen");
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host)
            .parse()
            .expect("a reference")
    }
}

/// Pushes an image to a real registry, pulls it back, and does so again with nothing to send.
async fn round_trip(client: &Client, registry: &RealRegistry) {
    let directory = tempfile::tempdir().expect("a directory");
    for format in [Format::Oci, Format::Docker] {
        let image = image(directory.path(), format);
        let names = ["a/b:v1", "a/b:v2", "c:v1"].map(|name| registry.reference(name));
        client
            .check_push(&names[0])
            .await
            .expect("the right to push");
        push(&image, client, &names).await.expect("a push");
        push(&image, client, &names)
            .await
            .expect("a push of what is there");
        for name in &names {
            let found = client.resolve(name, &platform()).await.expect("the image");
            assert_eq!(found.manifest_bytes, image.manifest);
            for (number, layer) in (1..).zip(&image.layers) {
                let bytes = download(client, name, &layer.descriptor)
                    .await
                    .expect("a layer");
                assert_eq!(bytes, noise(LAYER_SIZE, number));
            }
        }
        let missing = client
            .resolve(&registry.reference("a/b:absent"), &platform())
            .await
            .expect_err("absent");
        assert!(missing.is_not_found(), "{missing}");
    }
}

#[tokio::test]
async fn the_real_registry_takes_and_gives_images() {
    let Some(registry) = RealRegistry::start("", "", |_| {}) else {
        return;
    };
    round_trip(&client_with(&[], RegistryOptions::default()), &registry).await;
}

#[tokio::test]
async fn the_real_registry_is_given_a_list_of_referrers_which_it_does_not_keep() {
    let Some(registry) = RealRegistry::start("", "", |_| {}) else {
        return;
    };
    let client = client_with(&[], RegistryOptions::default());
    let directory = tempfile::tempdir().expect("a directory");
    let image = image(directory.path(), Format::Oci);
    let target = registry.reference("base:v1");
    push(&image, &client, std::slice::from_ref(&target))
        .await
        .expect("a push");
    let list = target.with_tag(&referrers::tag(&image)).expect("a tag");
    let mut pushed = Vec::new();
    for number in 0..2 {
        let (descriptor, bytes) = referrers::referring(&image, number);
        // Twice: it is listed once.
        for name in [descriptor.digest.to_string(), format!("about{number}")] {
            client
                .push_manifest(&target, &name, &descriptor, &bytes)
                .await
                .expect("a push");
        }
        pushed.push(descriptor.digest);
        let raw = client.manifest(&list).await.expect("a list");
        assert_eq!(raw.descriptor.media_type, MediaType::OCI_INDEX);
        let index: Index = serde_json::from_slice(&raw.bytes).expect("an index");
        let listed: Vec<&Digest> = index.manifests.iter().map(|entry| &entry.digest).collect();
        assert_eq!(listed, pushed.iter().collect::<Vec<_>>());
        for entry in &index.manifests {
            assert_eq!(entry.artifact_type.as_deref(), Some(referrers::TYPE));
            assert!(entry.annotations.contains_key("number"));
        }
    }
    // The image itself refers to nothing and is in no list.
    assert_eq!(
        client
            .resolve(&target, &platform())
            .await
            .expect("it")
            .manifest_bytes,
        image.manifest
    );
}

/// `user` and the bcrypt, of cost 5, of the tests' password.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuSnF5tLPqPFqc0z9CY0HcSLFbSRlL67u\n";

#[tokio::test]
async fn the_real_registry_asks_for_a_password() {
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: DIR/htpasswd\n";
    let file =
        |directory: &Path| std::fs::write(directory.join("htpasswd"), HTPASSWD).expect("a file");
    let Some(registry) = RealRegistry::start("", auth, file) else {
        return;
    };
    let password = |text: &str| CredentialKind::Password {
        username: "user".to_owned(),
        password: Secret::new(text),
    };
    let client = client_with(
        &[(registry.host.clone(), password(PASSWORD))],
        RegistryOptions::default(),
    );
    round_trip(&client, &registry).await;
    for credentials in [vec![], vec![(registry.host.clone(), password("wrong"))]] {
        let client = client_with(&credentials, RegistryOptions::default());
        let error = client
            .check_push(&registry.reference("a:v1"))
            .await
            .expect_err("refused");
        assert!(error.is_denied(), "{error}");
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let script = "cd \"$1\" && \
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem \
            -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr -subj /CN=127.0.0.1 && \
        printf 'subjectAltName=IP:127.0.0.1' > ext && \
        openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out tls.pem";
    let mut is_made = false;
    let make = |directory: &Path| {
        let made = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(directory)
            .output();
        is_made = made.is_ok_and(|output| output.status.success());
    };
    if std::process::Command::new("openssl")
        .arg("version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    }
    let tls = "  tls:\n    certificate: DIR/tls.pem\n    key: DIR/tls.key\n";
    let Some(registry) = RealRegistry::start(tls, "", make) else {
        return;
    };
    assert!(is_made, "openssl makes certificates");
    let authority = registry.directory.path().join("ca.pem");
    let host = registry.host.clone();
    let trusting = [
        RegistryOptions {
            certificates: [(host.clone(), vec![authority.clone()])].into(),
            ..RegistryOptions::default()
        },
        RegistryOptions {
            certificates: [("127.0.0.1".to_owned(), vec![authority])].into(),
            ..RegistryOptions::default()
        },
        RegistryOptions {
            skip_tls_verify: true,
            ..RegistryOptions::default()
        },
        RegistryOptions {
            skip_tls_verify_registries: [host].into(),
            ..RegistryOptions::default()
        },
    ];
    for options in trusting {
        round_trip(&client_with(&[], options), &registry).await;
    }
    let pull_only = client_with(
        &[],
        RegistryOptions {
            skip_tls_verify_pull: true,
            ..RegistryOptions::default()
        },
    );
    pull_only
        .resolve(&registry.reference("c:v1"), &platform())
        .await
        .expect("the image");
    for client in [pull_only, client_with(&[], RegistryOptions::default())] {
        let error = client
            .check_push(&registry.reference("c:v1"))
            .await
            .expect_err("an unknown authority");
        assert!(
            error.to_string().contains("no trusted TLS connection"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_independent_client_reads_what_was_pushed() {
    let Some(registry) = RealRegistry::start("", "", |_| {}) else {
        return;
    };
    // Another provider may have been installed by another test of this process: any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().expect("a directory");
    let image = image(directory.path(), Format::Oci);
    let client = client_with(&[], RegistryOptions::default());
    push(&image, &client, &[registry.reference("peer:v1")])
        .await
        .expect("a push");
    let peer = oci_client::Client::new(oci_client::client::ClientConfig {
        protocol: oci_client::client::ClientProtocol::Http,
        ..Default::default()
    });
    let name = format!("{}/peer:v1", registry.host)
        .parse()
        .expect("a reference");
    let layer_type = image.layers[0].descriptor.media_type.as_str();
    let anonymous = oci_client::secrets::RegistryAuth::Anonymous;
    let found = peer
        .pull(&name, &anonymous, vec![layer_type])
        .await
        .expect("the image");
    assert_eq!(
        found.digest.as_deref(),
        Some(image.descriptor.digest.as_str())
    );
    assert_eq!(found.config.data, image.config);
    // The peer gives the layers in the order in which they arrive; the manifest's digest vouches for their own.
    let digests: BTreeSet<_> = found
        .layers
        .iter()
        .map(|layer| Digest::of(&layer.data))
        .collect();
    let expect: BTreeSet<_> = image
        .layers
        .iter()
        .map(|layer| layer.descriptor.digest.clone())
        .collect();
    assert_eq!(digests, expect);
}

#[tokio::test]
async fn docker_loads_the_archive() {
    let docker = |arguments: &[&str]| {
        std::process::Command::new("docker")
            .args(arguments)
            .output()
    };
    if !docker(&["version"]).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no docker daemon to talk to");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "hello", &b"hello"[..])
        .expect("an entry");
    let tar = tar.into_inner().expect("a tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).expect("gzip");
    let layer = gzip.finish().expect("gzip");
    let path = directory.path().join("layer");
    std::fs::write(&path, &layer).expect("a file");
    for (number, format) in [(1, Format::Oci), (2, Format::Docker)] {
        let image = assemble(Assembly {
            config: ImageConfig::scratch(&platform()),
            layers: vec![ImageLayer {
                descriptor: Descriptor::of(MediaType::oci_layer(Compression::Gzip), &layer),
                diff_id: Digest::of(&tar),
                source: LayerSource::File(path.clone()),
            }],
            format,
            annotations: BTreeMap::new(),
        })
        .expect("an image");
        let name = format!("longshore-test-{}:{number}", std::process::id());
        let archive = directory.path().join("image.tar");
        let names = vec![name.parse().expect("a reference")];
        let output = Output::Archive {
            path: archive.clone(),
            names,
        };
        let client = client_with(&[], RegistryOptions::default());
        publish(&image, &[output], &client, None)
            .await
            .expect("an archive");
        let archive = archive.display().to_string();
        let loaded = docker(&["load", "-i", &archive]).expect("docker");
        let shown = docker(&[
            "image",
            "inspect",
            "--format",
            "{{json .RootFS.Layers}}",
            &name,
        ])
        .expect("docker");
        let _ = docker(&["image", "rm", &name]);
        assert!(
            loaded.status.success(),
            "{}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(Digest::of(&tar).as_str()), "{shown}");
    }
}
