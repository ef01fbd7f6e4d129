//! Names of the OCI image layout (image-spec image-layout.md).

/// The file that marks a directory as an image layout.
pub const IMAGE_LAYOUT_FILE: &str = "oci-layout";

/// The content of that file.
pub const IMAGE_LAYOUT_VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The annotation that names a descriptor of `index.json` (image-spec annotations.md).
pub const REF_NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
