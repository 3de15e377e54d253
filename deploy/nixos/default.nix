# latchkey's programs, without a flake. Its modules come from the folder
# vendor, so that no hash has to be kept here:
#   go mod vendor && nix-build deploy/nixos
{ pkgs ? import <nixpkgs> { } }:

pkgs.buildGoModule {
  pname = "latchkey";
  version = "unstable";
  src = pkgs.lib.cleanSource ../..;
  vendorHash = null;
  env.CGO_ENABLED = 0;
  subPackages = [
    "cmd/init"
    "cmd/latchkey"
    "cmd/latchkey-agent"
    "cmd/latchkey-kms"
    "cmd/latchkey-responder"
  ];
  ldflags = [ "-s" "-w" ];
  doCheck = false;
  postInstall = ''
    mkdir -p $out/lib/latchkey
    mv $out/bin/init $out/lib/latchkey/latchkey-init
  '';
  meta = {
    description = "Disks that open themselves at boot, by a key server on the LAN";
    license = pkgs.lib.licenses.asl20;
    platforms = pkgs.lib.platforms.linux;
  };
}
