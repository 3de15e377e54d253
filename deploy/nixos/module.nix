# A module for configuration.nix: imports = [ ./latchkey/deploy/nixos/module.nix ];
# services.latchkey-kms is a key server. boot.initrd.latchkey opens this
# machine's disks in NixOS' own initrd, which must be systemd's.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.latchkey-kms;
  boot = config.boot.initrd.latchkey;
  latchkey = import ./default.nix { inherit pkgs; };
  yaml = pkgs.formats.yaml { };
  kmsFile = yaml.generate "kms.yaml" ({ data = "/var/lib/latchkey-kms"; } // cfg.settings);
  planDir = pkgs.runCommand "latchkey-plan" { } ''
    mkdir $out
    ${boot.package}/bin/latchkey image agent --config ${yaml.generate "latchkey.yaml" boot.settings} --output $out
  '';
in
{
  options.services.latchkey-kms = {
    enable = lib.mkEnableOption "the key server of latchkey";
    package = lib.mkOption {
      type = lib.types.package;
      default = latchkey;
      defaultText = lib.literalExpression "import ./default.nix { inherit pkgs; }";
      description = "The package with latchkey-kms.";
    };
    settings = lib.mkOption {
      type = yaml.type;
      default = { };
      example = { enroll = "approve"; advertise = [ "kms.local" ]; };
      description = "kms.yaml, as docs/kms.md has it.";
    };
    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Let machines reach port 7741, and multicast DNS.";
    };
  };

  options.boot.initrd.latchkey = {
    enable = lib.mkEnableOption "opening disks by latchkey-agent in the initrd";
    package = lib.mkOption {
      type = lib.types.package;
      default = latchkey;
      defaultText = lib.literalExpression "import ./default.nix { inherit pkgs; }";
      description = "The package with latchkey and latchkey-agent.";
    };
    settings = lib.mkOption {
      type = yaml.type;
      default = { };
      description = "latchkey.yaml, as docs/plan.md has it.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      environment.systemPackages = [ cfg.package ];
      networking.firewall = lib.mkIf cfg.openFirewall {
        allowedTCPPorts = [ 7741 ];
        allowedUDPPorts = [ 5353 ];
      };
      systemd.services.latchkey-kms = {
        description = "latchkey key server";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" "time-sync.target" ];
        serviceConfig = {
          Type = "notify";
          ExecStartPre = "-${cfg.package}/bin/latchkey-kms init --first-start --config ${kmsFile}";
          ExecStart = "${cfg.package}/bin/latchkey-kms serve --config ${kmsFile}";
          Restart = "always";
          RestartSec = 2;
          RestartPreventExitStatus = 64;
          WatchdogSec = 60;
          DynamicUser = true;
          User = "latchkey-kms";
          StateDirectory = "latchkey-kms";
          StateDirectoryMode = "0700";
          RuntimeDirectory = "latchkey-kms";
          UMask = "0077";
          LimitCORE = 0;
          NoNewPrivileges = true;
          ProtectSystem = "strict";
          ProtectHome = true;
          PrivateDevices = true;
          RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
          SystemCallArchitectures = "native";
        };
      };
    })

    (lib.mkIf boot.enable {
      assertions = [
        {
          assertion = config.boot.initrd.systemd.enable;
          message = "boot.initrd.latchkey needs boot.initrd.systemd.enable: the agent answers systemd's questions";
        }
      ];
      boot.initrd.availableKernelModules = [ "tpm_tis" "tpm_crb" ];
      boot.initrd.systemd = {
        storePaths = [ "${boot.package}/bin/latchkey-agent" ];
        contents."/plan.json".source = "${planDir}/plan.json";
        services.latchkey-agent = {
          description = "Fetch the keys of encrypted volumes";
          wantedBy = [ "sysinit.target" ];
          wants = [ "cryptsetup-pre.target" ];
          after = [ "systemd-udevd.service" ];
          before = [ "cryptsetup-pre.target" "initrd-switch-root.target" "shutdown.target" ];
          conflicts = [ "initrd-switch-root.target" "shutdown.target" ];
          unitConfig.DefaultDependencies = false;
          serviceConfig = {
            Type = "forking";
            ExecStart = "${boot.package}/bin/latchkey-agent run --detach --network own --wait 1m";
            ExecStopPost = "${boot.package}/bin/latchkey-agent latch";
            TimeoutStopSec = "3min";
          };
        };
      };
    })
  ];
}
