//! Faults of layouts whose digests are right, and the order in which an image is made.

use std::cell::RefCell;

use super::*;

/// The path of the blob that a descriptor names.
fn path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
}

/// The paths of `index.json`, the index, the manifests of amd64, arm64 and their SBOMs, and the configuration of amd64.
fn paths(files: &BTreeMap<String, Entry>) -> [String; 7] {
    let index = path(&document(files, "index.json")["manifests"][0]);
    let [amd64, arm64, amd64_sbom, arm64_sbom] = [0, 1, 2, 3].map(|at| path(&document(files, &index)["manifests"][at]));
    let configuration = path(&document(files, &amd64)["config"]);
    ["index.json".to_owned(), index, amd64, arm64, amd64_sbom, arm64_sbom, configuration]
}

/// Replaces a file. Where the old one was named by its digest, the new one is.
fn replace(files: &mut BTreeMap<String, Entry>, path: &str, content: Vec<u8>) {
    let old = files.remove(path).unwrap();
    let entry = Entry { content, ..old };
    let Some(old) = path.strip_prefix("blobs/sha256/") else {
        files.insert(path.to_owned(), entry);
        return;
    };
    let (size, digest) = (entry.content.len(), layout::sha256(&entry.content));
    files.insert(format!("blobs/sha256/{digest}"), entry);
    let (old, new) = (format!("sha256:{old}"), format!("sha256:{digest}"));
    let renamed = |(path, entry): (&String, &Entry)| {
        let mut value = serde_json::from_slice::<Value>(&entry.content).ok()?;
        rename(&mut value, &old, &new, size).then(|| (path.clone(), value.to_string().into_bytes()))
    };
    assert_ne!(old, new, "nothing was changed");
    // One after the other, since each renames those that name it.
    while let Some((path, content)) = files.iter().find_map(renamed) {
        replace(files, &path, content);
    }
}

/// Whether a descriptor had the old digest.
fn rename(value: &mut Value, old: &str, new: &str, size: usize) -> bool {
    let is_named = value["digest"] == old;
    if is_named {
        value["digest"] = new.into();
        value["size"] = size.into();
    }
    let inner: Vec<&mut Value> = match value {
        Value::Object(members) => members.iter_mut().map(|(_, member)| member).collect(),
        Value::Array(elements) => elements.iter_mut().collect(),
        _ => Vec::new(),
    };
    inner.into_iter().fold(is_named, |found, value| rename(value, old, new, size) || found)
}

/// The faults of an image of which one document, by its place in [`paths`], was changed.
fn changed(at: usize, change: fn(&mut Value)) -> Vec<String> {
    let (_folder, tar) = whole();
    let mut files = entries(&tar);
    let path = paths(&files)[at].clone();
    let mut value = document(&files, &path);
    change(&mut value);
    replace(&mut files, &path, value.to_string().into_bytes());
    fs::write(&tar, layer::pack(&files).unwrap()).unwrap();
    verify(&tar, &Processor::ALL).unwrap_err()
}

fn elements(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().unwrap()
}

/// A tar in which one path comes before all others.
fn unsorted(first: &str, mut files: BTreeMap<String, Entry>) -> Vec<u8> {
    let entry = files.remove(first).unwrap();
    let mut tar = layer::pack(&BTreeMap::from([(first.to_owned(), entry)])).unwrap();
    // Without the two blocks that end it.
    tar.truncate(tar.len() - 1024);
    tar.extend(layer::pack(&files).unwrap());
    tar
}

#[test]
fn an_index_that_is_not_as_it_must_be_is_reported() {
    let twice = changed(0, |top| {
        let one = top["manifests"][0].clone();
        elements(&mut top["manifests"]).push(one);
    });
    assert_eq!(twice, ["index.json has not exactly one entry"]);
    let manifest = changed(0, |top| {
        top["manifests"][0]["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    });
    assert_eq!(manifest, ["index.json names no image index"]);
    let untagged = changed(0, |top| {
        top["manifests"][0]["annotations"].as_object_mut().unwrap().remove("org.opencontainers.image.ref.name");
    });
    assert_eq!(untagged, ["index.json has no tag"]);
}

#[test]
fn a_manifest_that_is_not_as_it_must_be_is_reported() {
    let layers = changed(2, |manifest| {
        let one = manifest["layers"][0].clone();
        elements(&mut manifest["layers"]).push(one);
    });
    assert_eq!(layers, ["linux/amd64: there is not exactly one layer"]);
    let platform = changed(6, |configuration| configuration["architecture"] = "arm64".into());
    assert_eq!(platform, ["linux/amd64: the configuration is for another platform"]);
    let layer = changed(6, |configuration| {
        configuration["rootfs"]["diff_ids"][0] = format!("sha256:{}", "0".repeat(64)).into();
    });
    assert_eq!(layer, ["linux/amd64: the configuration names another layer"]);
}

#[test]
fn an_sbom_that_is_not_as_it_must_be_is_reported() {
    let none = changed(4, |bill| bill["subject"]["digest"] = format!("sha256:{}", "0".repeat(64)).into());
    assert_eq!(none, ["linux/amd64: there is not exactly one SBOM"]);
    let two = changed(1, |index| {
        let one = index["manifests"][3].clone();
        elements(&mut index["manifests"]).push(one);
    });
    assert_eq!(two, ["linux/arm64: there is not exactly one SBOM"]);
    let other = changed(5, |bill| bill["artifactType"] = "application/spdx+json".into());
    assert_eq!(other, ["linux/arm64: the SBOM has another type than application/vnd.cyclonedx+json"]);
}

#[test]
fn unsorted_entries_are_reported() {
    let (folder, tar) = whole();
    fs::write(&tar, unsorted("oci-layout", entries(&tar))).unwrap();
    assert_eq!(verify(&tar, &Processor::ALL).unwrap_err(), ["the entries of the layout are not sorted"]);

    let files = files_for(Processor::Aarch64, &root().join(SPA));
    let image = Image { layer: unsorted("cloakroom", files.clone()), ..image(Processor::Aarch64, &files) };
    let tar = folder.path().join("other.tar");
    layout::write(&[image], &labels(), &tar).unwrap();
    let faults = verify(&tar, &[Processor::Aarch64]).unwrap_err();
    assert_eq!(faults, ["linux/arm64: the entries of the layer are not sorted"]);
}

#[test]
fn a_page_without_its_first_file_is_reported() {
    let faults = planted(|files| drop(files.remove("app/web/dist/index.html")));
    assert_eq!(faults, ["linux/arm64: app/web/dist/index.html is missing"]);
}

/// Programs of others run before a binary is there, and no build runs before the binary of the one before is read.
#[test]
fn sboms_come_first_and_each_binary_is_read_before_the_next_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("binary");
    let order = RefCell::new(Vec::new());
    let sbom = |processor| {
        order.borrow_mut().push(format!("SBOM of {}", platform_name(processor)));
        Ok(platform_name(processor).into())
    };
    let build = |processor| {
        order.borrow_mut().push(format!("binary of {}", platform_name(processor)));
        fs::write(&path, binary(processor))?;
        Ok(path.clone())
    };
    let images = images(&Processor::ALL, &root().join(SPA), sbom, build).unwrap();
    let expected = ["SBOM of linux/amd64", "SBOM of linux/arm64", "binary of linux/amd64", "binary of linux/arm64"];
    assert_eq!(*order.borrow(), expected);
    for (image, processor) in images.into_iter().zip(Processor::ALL) {
        assert_eq!(layer::read(&image.layer).unwrap().1["cloakroom"].content, binary(processor));
        assert_eq!((image.processor, image.sbom), (processor, platform_name(processor).into()));
    }
}

/// cargo-cyclonedx writes a file into each of them.
#[test]
fn the_folders_of_all_packages_are_known() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let mut expected: Vec<PathBuf> = members.iter().map(|member| root().join(member)).chain([root()]).collect();
    expected.sort();
    let mut found = sbom::member_folders().unwrap();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_is_left_out_fails_in_a_workflow() {
    assert!(left_out(false).is_ok());
    assert!(left_out(true).unwrap_err().to_string().ends_with("apt-get install skopeo umoci"));
}
