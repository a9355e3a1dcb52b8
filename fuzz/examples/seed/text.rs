//! Seeds of the targets that read text.

const HEX: &str = "3333333333333333333333333333333333333333";

/// Target and bytes of each.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let digest = format!("sha256:{HEX}{}", &HEX[..24]);
    let mut seeds: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut add = |target, text: &str| seeds.push((target, text.as_bytes().to_vec()));

    for name in [
        "refs/heads/feature/a",
        "refs/tags/v1.2.0",
        "refs/merge-requests/7/head",
        "größe/日本",
        HEX,
        &digest,
        "docker.io/library/nginx:1.27",
        "[::1]:5000/a/b__c:x",
        &format!("host.io:443/a-b/c:1@{digest}"),
        "web-registry-cred",
        "{branch}-{sha}",
        "{semver}",
        "b-0123456789abcdef01234567",
    ] {
        add("names", name);
    }
    for filter in [
        "\0main\nfeature/*\n!wip/*\nfeature/a/b",
        "\0{a,b}/[a-z]?\n\\!x\na/b1",
        "\x01v*\nsemver:>=1.2, <2\n!semver:<1\nv1.3.0-rc.1",
        "\x02services/api/, **/*.proto,!**/*.md\nservices/api/main.rs",
        "\x02/\n./a/../b\n./a",
        "\x03fix/{a}",
        "\x03gh-readonly-queue/main/pr-1",
    ] {
        add("filters", filter);
    }
    for file in [
        "# syntax=docker/dockerfile:1\nFROM scratch AS site\nARG VERSION=1\nENV A=\"x $VERSION\" B=${A:-y}\nCOPY --chown=1:1 --chmod=644 . /srv\nWORKDIR /srv\nUSER 1000:1000\nEXPOSE 80/tcp\nCMD [\"serve\", \"-x\"]\n",
        "# escape=`\nARG BASE=scratch\nFROM --platform=linux/amd64 ${BASE}\nCOPY <<EOF <<\"B\" /x/\nhello $A\nEOF\nb\nB\nLABEL a=b \"c d\"='e'\nHEALTHCHECK --interval=5s --retries=3 CMD curl -f x || exit 1\nSTOPSIGNAL SIGTERM\nVOLUME [\"/a\"]\nSHELL [\"/bin/sh\",\"-c\"]\nENTRYPOINT exec x\n",
        "FROM scratch\nRUN x\n",
        "FROM a AS b\nADD --checksum=sha256:x https://x/y /\nONBUILD COPY . .\n",
        "FROM scratch\nCOPY --from=0 a \\\n# c\n b\nMAINTAINER x\n",
    ] {
        add("dockerfile", file);
    }
    for ignore in [
        "src/a.rs\n# all\n*\n!src\n**/*.md\n",
        "a/b/c\na/**/c\n!a/[a-z^]?/x\\*\n../x\n",
        "x\n\u{feff}/x/\n!\n",
        "a/b/c/d/e/f\n**/*/**\n***\n",
    ] {
        add("dockerignore", ignore);
    }
    for dockerfile in [
        "\n\nARG TAG=1\nFROM h.io/a:$TAG AS a\nRUN <<EOF\nFROM no\nEOF\nFROM scratch\nCOPY --from=a / /\n",
        "build\nV=2\n# escape=`\nFROM --platform=$BUILDPLATFORM node:${V:-${W:+20}} `\n# no\nAS build\nFROM build\n",
        "1\n\nFROM a AS x\nRUN --mount=type=bind,from=h.io/t,target=/t make \\\n  all\nFROM x\nCOPY --from=0 / /\n",
    ] {
        add("bases", dockerfile);
    }
    for answer in [
        "\0\u{1}120",
        "\x01\u{2d}Wed, 21 Oct 2026 07:28:00 GMT",
        "\x01\u{13}\n0\n1800000100\n",
        "\x01\u{2d}\n\n\n0\n30",
        "\x01\u{2d}\n\n\n\n\nlimit=100;r=0;t=30\nslow down",
    ] {
        add("rate_limit", answer);
    }
    for schedule in [
        "UTC\n*/15 * * * *",
        "Europe/Berlin\n30 2 * * mon-fri",
        "Australia/Lord_Howe\n0,30 1-3 1-7,31 jan,apr-oct/3 0-7/2",
        "America/New_York\n59 23 29 2 */3",
    ] {
        add("schedule", &format!("\0\0\0\0 12x{schedule}"));
    }
    for headers in [
        "id-1\n1800000000\nv1,K3p1c2lnbmF0dXJl v1a,x\n\n\n\n\n\n\n\n\n\n{}",
        "\n\n\ntoken\nuuid\n\n\n\n\n\n\n\n{}",
        &format!(
            "\n\n\n\n\nsha256={0}{1}\nsha1={0}\n{0}{1}\n{0}{1}\n{0}{1}\n{0}\n1800000000000\n{{}}",
            HEX,
            &HEX[..24]
        ),
        "a\tb\n1\t2\nv1,\tv2,\n",
    ] {
        add("proof", headers);
    }
    for urls in [
        "https://git.example.org/api/v4/\nhttps://git.example.org/api/v4/projects?x=1",
        "http://*.example.org:8080/\nhttp://a.example.org:8080/%2e%2e/a",
        "*\nhttps://[::ffff:10.0.0.1]/",
        "https://*\nhttps://user:pw@0x7f.1/",
    ] {
        add("url", urls);
    }
    add(
        "sarif",
        r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"t"}},"results":[{"ruleId":"r","ruleIndex":1,"level":"error","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.rs"},"region":{"startLine":3}}}],"fingerprints":{"a":"b"},"partialFingerprints":{"c":"d"},"suppressions":[]}]}]}"#,
    );
    // As Semgrep writes it, and what suppresses.
    add(
        "sarif",
        r#"{"runs":[{"results":[{"ruleId":"r/s","fingerprints":{"matchBasedId/v1":"requires login"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.js"},"region":{"snippet":{"text":"x()"}}}}]},{"rule":{"id":"r","index":0},"kind":"pass","baselineState":"absent"},{"ruleId":"r","suppressions":[{"kind":"external","status":"rejected"}]}],"tool":{"driver":{"rules":[{"id":"r","defaultConfiguration":{"level":"error"}}]},"extensions":[{"rules":[{"id":"e"}]}]}}]}"#,
    );
    let log = b"\x10plain\r\n\x1b[32mgreen \xf8\x1b[0m\r50%\rdone\x1b[K\nhttps://user:pa/ss@host/ \xf9\xfa\xfb\xfc\xfd\xfe\xff\n\x1b]0;title\x07\xc2\x9bx\xc2 \xff tail";
    seeds.push(("mask", log.to_vec()));
    seeds
}
