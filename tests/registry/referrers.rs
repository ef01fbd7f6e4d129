//! Manifests that refer to another by `subject`, where the registry lists them and where it does not.

use super::*;

pub(super) const TYPE: &str = "application/vnd.test.thing";

/// A manifest without layers that refers to an image.
pub(super) fn referring(image: &Image, number: usize) -> (Descriptor, Bytes) {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": TYPE,
        "config": &image.config_descriptor,
        "layers": [],
        "subject": &image.descriptor,
        "annotations": {"number": number.to_string()},
    });
    let bytes = Bytes::from(document.to_string());
    (Descriptor::of(MediaType::OCI_MANIFEST, &bytes), bytes)
}

pub(super) fn tag(image: &Image) -> String {
    image.descriptor.digest.as_str().replace(':', "-")
}

fn listed(registry: &Registry, image: &Image) -> Option<Index> {
    let bytes = registry.manifest("base", &tag(image))?;
    Some(serde_json::from_slice(&bytes).expect("an index"))
}

#[tokio::test]
async fn a_registry_that_lists_them_is_left_alone() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    registry.state().has_referrers = true;
    let (descriptor, bytes) = referring(&image, 1);
    let target = reference(&registry, "base");
    let name = descriptor.digest.as_str();
    client
        .push_manifest(&target, name, &descriptor, &bytes)
        .await
        .expect("a push");
    // Its answer is lost: it is asked.
    registry.fault("PUT", "/manifests/again", 6, Action::DropAnswer);
    client
        .push_manifest(&target, "again", &descriptor, &bytes)
        .await
        .expect("a push");
    assert_eq!(registry.count("GET", "/referrers/"), 1);
    assert!(listed(&registry, &image).is_none());
}

#[tokio::test]
async fn elsewhere_a_tag_lists_them_and_loses_none() {
    const JOBS: usize = 8;
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    // Long enough that all of them read the same list.
    registry.state().delay = Duration::from_millis(20);
    let jobs = (0..JOBS).map(|number| {
        let (registry, image) = (&registry, &image);
        async move {
            let (descriptor, bytes) = referring(image, number);
            let target = reference(registry, "base");
            let name = descriptor.digest.as_str();
            // Twice, as one that is tagged as well.
            let client = client(registry);
            for name in [name, &format!("tag{number}")] {
                client
                    .push_manifest(&target, name, &descriptor, &bytes)
                    .await
                    .expect("a push");
            }
        }
    });
    futures_util::future::join_all(jobs).await;
    let index = listed(&registry, &image).expect("a list");
    let mut numbers: Vec<&str> = index
        .manifests
        .iter()
        .map(|entry| entry.annotations["number"].as_str())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    for entry in &index.manifests {
        assert_eq!(entry.artifact_type.as_deref(), Some(TYPE));
        assert_eq!(entry.media_type, MediaType::OCI_MANIFEST);
    }
    assert!(
        registry.count("PUT", &tag(&image)) > JOBS,
        "some were lost and written again"
    );
}

#[tokio::test]
async fn a_tag_that_is_something_else_is_not_overwritten() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    registry.put_manifest(
        "base",
        &tag(&image),
        MediaType::OCI_MANIFEST,
        image.manifest.clone(),
    );
    let (descriptor, bytes) = referring(&image, 1);
    let target = reference(&registry, "base");
    let name = descriptor.digest.as_str();
    let error = client
        .push_manifest(&target, name, &descriptor, &bytes)
        .await
        .expect_err("no list");
    assert!(error.to_string().contains("names an image"), "{error}");
    assert_eq!(
        registry.manifest("base", &tag(&image)),
        Some(image.manifest.clone())
    );
}
