<#
.SYNOPSIS
Uploads a build to a dropdeploy server by WinSCP, waits for the verdict, shows it and ends with it.

.DESCRIPTION
What dropdeploy-push does, for PowerShell 5.1 or newer with WinSCP's .NET assembly (WinSCPnet.dll, in WinSCP's
"Automation" package, beside WinSCP.exe).

NOT TRIED: this script was written by WinSCP's documentation and has never been run, unlike everything else in this
directory, which is tested against a real sshd. Try it with an app that nobody misses, and please tell what was wrong.

Exit codes: 0 deployed, 1 not deployed, 2 usage, 3 no connection, or no verdict in time.

.EXAMPLE
.\Push-Dropdeploy.ps1 -File build.zip -HostName server -UserName up-myapp -KeyFile C:\keys\deploy.ppk -HostKey "ssh-ed25519 255 ..." -Checksum

.EXAMPLE
.\Push-Dropdeploy.ps1 -Rollback -HostName server -UserName up-myapp -KeyFile C:\keys\deploy.ppk -HostKey "ssh-ed25519 255 ..."
#>
[CmdletBinding(DefaultParameterSetName = "Build")]
param(
    [Parameter(ParameterSetName = "Build", Mandatory = $true, Position = 0)] [string] $File,
    [Parameter(ParameterSetName = "Rollback", Mandatory = $true)] [switch] $Rollback,
    [Parameter(ParameterSetName = "Rollback")] [string] $Release = "",
    [Parameter(ParameterSetName = "Restart", Mandatory = $true)] [switch] $Restart,
    [Parameter(Mandatory = $true)] [string] $HostName,
    [Parameter(Mandatory = $true)] [string] $UserName,
    # In PuTTY's format, as WinSCP wants it: PuTTYgen converts OpenSSH's.
    [Parameter(Mandatory = $true)] [string] $KeyFile,
    # The fingerprint that the administrator gave you, as WinSCP shows it. Nothing else is trusted.
    [Parameter(Mandatory = $true)] [string] $HostKey,
    [int] $Port = 22,
    # The drop directory, if it is not the one that a session starts in.
    [string] $Directory = ".",
    # Upload the build under this name.
    [Parameter(ParameterSetName = "Build")] [string] $Name = "",
    [Parameter(ParameterSetName = "Build")] [switch] $Checksum,
    [int] $TimeoutSeconds = 900,
    [string] $WinScpAssembly = (Join-Path $PSScriptRoot "WinSCPnet.dll")
)

Set-StrictMode -Version 2
$ErrorActionPreference = "Stop"

function Stop-With([int] $Code, [string] $Message) {
    [Console]::Error.WriteLine("Push-Dropdeploy: $Message")
    exit $Code
}

# A text key before the first table, where the verdict stands.
function Get-ResultKey([string] $Text, [string] $Key) {
    $head = ($Text -split "(?m)^\[", 2)[0]
    if ($head -match "(?m)^$Key = `"?([^`"\r\n]*)`"?\r?$") { return $Matches[1] }
    return ""
}

# A text key of the table [error], in which quotes and backslashes are escaped.
function Get-ErrorKey([string] $Text, [string] $Key) {
    if ($Text -notmatch "(?ms)^\[error\]\r?\n(.*?)(?=^\[|\z)") { return "" }
    if ($Matches[1] -match "(?m)^$Key = `"(.*)`"\r?$") { return $Matches[1] -replace '\\(["\\])', '$1' }
    return ""
}

if (-not (Test-Path -LiteralPath $WinScpAssembly)) { Stop-With 2 "$WinScpAssembly is not there: name it with -WinScpAssembly" }
Add-Type -Path $WinScpAssembly

# Copies beside each other under names without surprises: WinSCP takes "*" and "?" in a local name for a pattern.
$work = Join-Path ([IO.Path]::GetTempPath()) ("dropdeploy-" + [Guid]::NewGuid().ToString("N"))
$null = New-Item -ItemType Directory -Path $work
$session = New-Object WinSCP.Session
$code = 3
try {
    $parts = @("")
    if ($PSCmdlet.ParameterSetName -eq "Build") {
        if (-not (Test-Path -LiteralPath $File -PathType Leaf)) { Stop-With 2 "$File is no file" }
        if (-not $Name) { $Name = [IO.Path]::GetFileName($File) }
        Copy-Item -LiteralPath $File -Destination (Join-Path $work "build")
        # The build last: the server then finds all that belongs to it.
        $parts = @()
        foreach ($ending in ".meta.toml", ".sha256", ".sig") {
            if (Test-Path -LiteralPath "$File$ending") {
                Copy-Item -LiteralPath "$File$ending" -Destination (Join-Path $work "build$ending")
            }
        }
        if ($Checksum) {
            $digest = (Get-FileHash -Algorithm SHA256 -LiteralPath (Join-Path $work "build")).Hash.ToLowerInvariant()
            [IO.File]::WriteAllText((Join-Path $work "build.sha256"), "$digest`n")
        }
        foreach ($ending in ".meta.toml", ".sha256", ".sig", "") {
            if (Test-Path -LiteralPath (Join-Path $work "build$ending")) { $parts += $ending }
        }
    } elseif ($Rollback) {
        $Name = "rollback"
        $line = ""
        if ($Release) { $line = "$Release`n" }
        [IO.File]::WriteAllText((Join-Path $work "build"), $line)
    } else {
        $Name = "restart"
        [IO.File]::WriteAllText((Join-Path $work "build"), "")
    }
    if ($Name -match "[/\r\n]" -or $Name.StartsWith(".")) { Stop-With 2 "$Name cannot be the name of an upload" }
    $size = (Get-Item -LiteralPath (Join-Path $work "build")).Length

    $options = New-Object WinSCP.SessionOptions -Property @{
        Protocol              = [WinSCP.Protocol]::Sftp
        HostName              = $HostName
        PortNumber            = $Port
        UserName              = $UserName
        SshPrivateKeyPath     = $KeyFile
        SshHostKeyFingerprint = $HostKey
    }
    $session.Open($options)
    $target = "$Directory/$Name"
    # The server does not see what begins with a dot.
    $temporary = "$Directory/.dropdeploy-push." + [Guid]::NewGuid().ToString("N")
    $transfer = New-Object WinSCP.TransferOptions
    $transfer.TransferMode = [WinSCP.TransferMode]::Binary
    $transfer.PreserveTimestamp = $false
    $transfer.ResumeSupport.State = [WinSCP.TransferResumeSupportState]::Off
    foreach ($ending in $parts) {
        $session.PutFiles((Join-Path $work "build$ending"), "$temporary$ending", $false, $transfer).Check()
    }
    # What an earlier upload of this name left says nothing about this one. The build goes first.
    $former = @(".result.toml")
    if ($PSCmdlet.ParameterSetName -eq "Build") { $former = @("", ".meta.toml", ".sha256", ".sig", ".ready", ".result.toml") }
    foreach ($ending in $former) {
        if ($session.FileExists("$target$ending")) {
            $session.RemoveFiles([WinSCP.RemotePath]::EscapeFileMask("$target$ending")).Check()
        }
    }
    foreach ($ending in $parts) { $session.MoveFile("$temporary$ending", "$target$ending") }
    Write-Output "${Name}: uploaded, $size bytes; waiting for the result"

    $deadline = (Get-Date).AddSeconds($TimeoutSeconds)
    $local = Join-Path $work "result.toml"
    $text = ""
    while (-not $text -and (Get-Date) -lt $deadline) {
        Start-Sleep -Milliseconds 500
        try {
            if (-not $session.Opened) { $session.Open($options) }
            if (-not $session.FileExists("$target.result.toml")) { continue }
            $session.GetFiles([WinSCP.RemotePath]::EscapeFileMask("$target.result.toml"), $local, $false, $transfer).Check()
            $text = [IO.File]::ReadAllText($local)
            # Another upload of this name may have been on its way.
            $bytes = Get-ResultKey $text "bytes"
            if ($PSCmdlet.ParameterSetName -eq "Build" -and $bytes -and $bytes -ne "$size") { $text = "" }
        } catch [WinSCP.SessionException] {
            Write-Output "  the connection is lost; the server goes on, and is asked again"
            $session.Dispose()
            $session = New-Object WinSCP.Session
            Start-Sleep -Seconds 2
        }
    }
    if (-not $text) { Stop-With 3 "$Name is uploaded, but not decided after $TimeoutSeconds s; the result will be in $Name.result.toml" }

    $status = Get-ResultKey $text "status"
    Write-Output "${status}: $(Get-ResultKey $text 'summary')"
    if ($status -eq "deployed") {
        $code = 0
    } else {
        $code = 1
        Write-Output "  $(Get-ErrorKey $text 'code'): $(Get-ErrorKey $text 'message')"
        $hint = Get-ErrorKey $text "hint"
        if ($hint) { Write-Output "  hint: $hint" }
        if ($text -match '(?s)\nlog = """\r?\n(.*?)"""') { Write-Output "  log:"; Write-Output $Matches[1] }
    }
} catch {
    [Console]::Error.WriteLine("Push-Dropdeploy: $($_.Exception.Message)")
    $code = 3
} finally {
    $session.Dispose()
    Remove-Item -LiteralPath $work -Recurse -Force -ErrorAction SilentlyContinue
}
exit $code
