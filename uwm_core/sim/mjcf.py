# SPDX-License-Identifier: Apache-2.0
"""The simulated set-up as MJCF text: FR3, Franka hand, table, cube, two cameras, light.

Everything is drawn here from ``fr3``'s lengths and ``shapes``' hulls; no foreign mesh is read. The
base stands on the table, whose surface is z = 0. Housings are for the eye only: what collides are
the hand, the fingers, the cube and the table. No shadow maps and no multisampling: a software
renderer draws this scene twice in a few milliseconds; the soft discs below hand and cube stand in
for shadows.
"""

from collections.abc import Sequence

import numpy as np

from uwm_core.errors import UwmError
from uwm_core.sim import fr3, shapes

CUBE_HALF_M = 0.02
CUBE_MASS_KG = 0.06
TIMESTEP_S = 0.002
CAMERAS = ("front", "wrist")
# Further cameras, taken in this order: where they stand and what they look at (m), opening (deg).
# The first two are where DROID's exterior cameras are, left and right of the base.
VIEWS: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ((0.05, 0.65, 0.50), (0.45, 0.0, 0.08), 52.0),
    ((0.05, -0.65, 0.50), (0.45, 0.0, 0.08), 52.0),
    ((1.15, 0.60, 0.60), (0.40, 0.0, 0.10), 45.0),
    ((1.15, -0.60, 0.60), (0.40, 0.0, 0.10), 45.0),
    ((0.50, 0.0, 1.60), (0.501, 0.0, 0.0), 35.0),
)
# Servo stiffness (N m/rad) of each joint; damping is a tenth of it.
SERVO_KP: tuple[float, ...] = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
SERVO_KV_PER_KP = 0.1

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

# Per link: housings (hulls of these barrels) and dark details (barrels drawn alone).
_Barrel = tuple[tuple[float, float, float], tuple[float, float, float], float, float]
_HOUSING: dict[str, tuple[tuple[_Barrel, ...], ...]] = {
    "link0": (
        (((0.0, 0.0, 0.07), _Z, 0.078, 0.07), ((-0.10, 0.0, 0.045), _Z, 0.05, 0.045)),
    ),
    "link1": (
        (((0.0, 0.0, -0.135), _Z, 0.066, 0.05), ((0.0, 0.0, -0.01), _Y, 0.066, 0.064)),
    ),
    "link2": (
        (((0.0, 0.0, 0.0), _Z, 0.060, 0.074), ((0.0, -0.10, 0.0), _Y, 0.060, 0.03)),
        (((0.0, -0.13, 0.0), _Y, 0.062, 0.045),),
    ),
    "link3": (
        (((0.0, 0.0, -0.10), _Z, 0.060, 0.03), ((0.0825, 0.0, 0.0), _Y, 0.056, 0.056)),
    ),
    "link4": (
        (((0.0, 0.0, 0.0), _Z, 0.050, 0.068), ((-0.0825, 0.075, 0.0), _Y, 0.056, 0.03)),
    ),
    "link5": (
        (((0.0, 0.0, -0.225), _Z, 0.057, 0.045), ((0.0, 0.035, -0.10), _Z, 0.042, 0.03)),
        (((0.0, 0.035, -0.10), _Z, 0.042, 0.05), ((0.0, 0.0, 0.0), _Y, 0.050, 0.052)),
    ),
    "link6": (
        (((0.0, 0.0, 0.0), _Z, 0.046, 0.060), ((0.088, 0.0, 0.0), _Y, 0.048, 0.048)),
    ),
    "link7": ((((0.0, 0.0, 0.066), _Z, 0.044, 0.020),),),
}  # fmt: skip
_DETAIL: dict[str, tuple[_Barrel, ...]] = {
    "link0": (((0.0, 0.0, 0.142), _Z, 0.0665, 0.008),),
    "link1": (((0.0, 0.0, -0.01), _Y, 0.050, 0.068),),
    "link2": (((0.0, 0.0, 0.0), _Z, 0.046, 0.078), ((0.0, -0.181, 0.0), _Y, 0.0585, 0.008)),
    "link3": (((0.0825, 0.0, 0.0), _Y, 0.043, 0.060),),
    "link4": (((0.0, 0.0, 0.0), _Z, 0.038, 0.072), ((-0.0825, 0.109, 0.0), _Y, 0.0545, 0.008)),
    "link5": (((0.0, 0.0, 0.0), _Y, 0.037, 0.056),),
    "link6": (((0.0, 0.0, 0.0), _Z, 0.034, 0.064), ((0.088, 0.047, 0.0), _Y, 0.0425, 0.006)),
    "link7": (((0.0, 0.0, 0.096), _Z, 0.036, 0.012),),
}
_LINK_POSES = (
    'pos="0 0 0.333"',
    'quat="0.70710678 -0.70710678 0 0"',
    'pos="0 -0.316 0" quat="0.70710678 0.70710678 0 0"',
    'pos="0.0825 0 0" quat="0.70710678 0.70710678 0 0"',
    'pos="-0.0825 0.384 0" quat="0.70710678 -0.70710678 0 0"',
    'quat="0.70710678 0.70710678 0 0"',
    'pos="0.088 0 0" quat="0.70710678 0.70710678 0 0"',
)
# Centre of mass of links 1..7 in their own frames, metres.
_LINK_COM = (
    "0 -0.03 -0.06",
    "0 -0.07 0.03",
    "0.04 0.03 -0.04",
    "-0.04 0.04 0.03",
    "0 0.03 -0.12",
    "0.05 0 0",
    "0.01 0 0.06",
)


def _assets() -> str:
    """Meshes, materials and the sky."""
    meshes = []
    for link, housings in _HOUSING.items():
        for i, barrels in enumerate(housings):
            points = np.concatenate([shapes.barrel(*b) for b in barrels])
            meshes.append(shapes.mesh_xml(f"{link}_{i}", points))
        for i, detail in enumerate(_DETAIL[link]):
            points = shapes.barrel(*detail, fillet_m=0.004, rings=2)
            meshes.append(shapes.mesh_xml(f"{link}_d{i}", points))
    palm = shapes.rounded_box((0, 0, 0.026), (0.032, 0.066, 0.026), 0.012)
    rail = shapes.rounded_box((0, 0, 0.050), (0.028, 0.102, 0.016), 0.007)
    finger = [
        shapes.rounded_box((0, 0.013, 0.008), (0.010, 0.011, 0.010), 0.003),
        shapes.rounded_box((0, 0.010, 0.026), (0.0095, 0.007, 0.006), 0.003),
    ]
    meshes += [shapes.mesh_xml("palm", palm), shapes.mesh_xml("rail", rail)]
    meshes.append(shapes.mesh_xml("finger", np.concatenate(finger)))
    cube = shapes.rounded_box((0, 0, 0), (CUBE_HALF_M,) * 3, 0.0025)
    meshes.append(shapes.mesh_xml("cube", cube))
    top = shapes.rounded_box((0, 0, 0), (0.55, 0.62, 0.02), 0.006)
    meshes.append(shapes.mesh_xml("table", top))
    return f"""<asset>
  <texture type="skybox" builtin="gradient" rgb1=".80 .86 .92" rgb2=".52 .60 .70"
           width="64" height="384"/>
  <material name="shell" rgba=".93 .94 .955 1" specular=".35" shininess=".55"/>
  <material name="dark" rgba=".17 .19 .23 1" specular=".3" shininess=".4"/>
  <material name="finger" rgba=".27 .30 .35 1" specular=".3" shininess=".4"/>
  <material name="pad" rgba=".12 .62 .66 1" specular=".1" shininess=".2"/>
  <material name="table" rgba=".86 .82 .76 1" specular=".05" shininess=".1"/>
  <material name="mat" rgba=".50 .58 .64 1" specular=".04" shininess=".1"/>
  <material name="leg" rgba=".36 .38 .42 1" specular=".1" shininess=".2"/>
  <material name="floor" rgba=".60 .655 .71 1" specular="0" shininess="0"/>
  <material name="cube" rgba=".93 .31 .17 1" specular=".25" shininess=".4"/>
  <material name="shade" rgba=".10 .11 .14 .12" specular="0" shininess="0"/>
  {"".join(meshes)}
</asset>"""


def _skin(link: str) -> str:
    """Drawn geoms of one link."""
    shells = "".join(
        f'<geom class="skin" material="shell" mesh="{link}_{i}"/>'
        for i in range(len(_HOUSING[link]))
    )
    return shells + "".join(
        f'<geom class="skin" material="dark" mesh="{link}_d{i}"/>'
        for i in range(len(_DETAIL[link]))
    )


def _hand() -> str:
    """Flange, hand, wrist camera and both fingers."""
    finger = """
      <geom class="skin" material="finger" mesh="finger"/>
      <geom class="skin" type="box" material="finger" pos="0 .0075 .0405" size=".009 .0045 .0135"/>
      <geom class="skin" type="box" material="pad" pos="0 .0017 .0425" size=".0092 .0015 .0112"/>
      <geom class="solid" type="box" pos="0 .006 .0345" size=".0095 .006 .0195"
            friction="1.6 .02 .0005" solref=".006 1" condim="4"/>"""
    slides = "".join(
        f'<body name="finger{i}" pos="0 0 {fr3.HAND_TO_FINGER_M}" {turn} gravcomp="1">'
        f'<inertial pos="0 .01 .02" mass="{fr3.FINGER_MASS_KG}" diaginertia="3e-6 3e-6 1e-6"/>'
        f'<joint name="{name}" type="slide" axis="0 1 0" range="0 .04" damping="8" armature=".3"/>'
        f"{finger}</body>"
        for i, name, turn in zip((1, 2), fr3.FINGER_JOINTS, ("", 'quat="0 0 0 1"'), strict=True)
    )
    mount = f'pos="0 0 {fr3.FLANGE_M}" euler="0 0 {fr3.HAND_YAW_RAD}"'
    return f"""<body name="hand" {mount} gravcomp="1">
      <inertial pos="0 0 .035" mass="{fr3.HAND_MASS_KG}" diaginertia=".001 .0025 .0017"/>
      <geom class="skin" material="shell" mesh="palm"/>
      <geom class="skin" material="shell" mesh="rail"/>
      <geom class="skin" type="box" material="dark" pos="0 0 .0668" size=".013 .095 .0012"/>
      <geom class="skin" type="box" material="dark" pos=".05 0 .028" size=".016 .040 .011"/>
      <geom class="solid" type="box" pos="0 0 .035" size=".032 .102 .032"/>
      <!-- The shipped checkpoint sees through this camera: to move it is to train anew. -->
      <camera name="wrist" pos=".076 0 .044" xyaxes="0 1 0 .906 0 .423" fovy="75"/>
      <site name="tcp" pos="0 0 {fr3.HAND_TO_TCP_M}" size=".004" rgba="0 0 0 0"/>
      {slides}
    </body>"""


def _arm() -> str:
    """The seven links, nested, with the hand at their end."""
    body = _hand()
    for i in range(6, -1, -1):
        low, high = fr3.POSITION_LIMITS_RAD[i]
        body = f"""<body name="link{i + 1}" {_LINK_POSES[i]} gravcomp="1">
      <inertial pos="{_LINK_COM[i]}" mass="{fr3.LINK_MASSES_KG[i + 1]}" diaginertia=".02 .02 .012"/>
      <joint name="{fr3.ARM_JOINTS[i]}" axis="0 0 1" range="{low} {high}" armature=".1"
             damping="1"/>
      {_skin(f"link{i + 1}")}{body}</body>"""
    return f'<body name="link0">{_skin("link0")}{body}</body>'


def _actuators() -> str:
    """Stiff position servos; ``kv * qd`` is fed forward by the scene through the set point."""
    servos = "".join(
        f'<position joint="{joint}" kp="{kp}" kv="{kp * SERVO_KV_PER_KP}" '
        f'forcerange="-{torque} {torque}"/>'
        for joint, kp, torque in zip(fr3.ARM_JOINTS, SERVO_KP, fr3.TORQUE_LIMITS_NM, strict=True)
    )
    fingers = "".join(
        f'<position joint="{joint}" kp="2500" kv="60" forcerange="-35 35"/>'
        for joint in fr3.FINGER_JOINTS
    )
    return f"<actuator>{servos}{fingers}</actuator>"


def _shade(name: str, half_y_m: tuple[float, ...], half_x_m: tuple[float, ...]) -> str:
    """A movable stack of ever smaller discs: a soft shadow on the table."""
    discs = "".join(
        f'<geom class="skin" type="ellipsoid" material="shade" pos="0 0 {0.0008 + 0.0004 * i}" '
        f'size="{x} {y} .0002"/>'
        for i, (x, y) in enumerate(zip(half_x_m, half_y_m, strict=True))
    )
    return f'<body name="{name}" mocap="true">{discs}</body>'


def _further(cameras: Sequence[str]) -> str:
    """Cameras beside the two that every scene has, each with a view of its own."""
    names = [name for name in cameras if name not in CAMERAS]
    if len(names) > len(VIEWS):
        raise UwmError(
            f"the simulated arm has {', '.join(CAMERAS)} and {len(VIEWS)} more cameras, "
            f"not {len(names)} more: {', '.join(names)}"
        )
    elements = []
    for name, (position_m, target_m, fovy_deg) in zip(names, VIEWS, strict=False):
        look = np.subtract(target_m, position_m)
        right = np.cross(look, _Z)
        axes = " ".join(f"{value:.6f}" for value in (*right, *np.cross(right, look)))
        x, y, z = position_m
        elements.append(
            f'<camera name="{name}" pos="{x} {y} {z}" xyaxes="{axes}" fovy="{fovy_deg}"/>'
        )
    return "".join(elements)


def scene_xml(cameras: Sequence[str] = CAMERAS) -> str:
    """The whole model as MJCF text.

    Args:
        cameras: Names of the views wanted; those that are not ``CAMERAS`` take ``VIEWS`` in turn.

    Raises:
        UwmError: There are more of them than views.
    """
    legs = "".join(
        f'<geom class="skin" type="cylinder" material="leg" pos="{x} {y} -.39" size=".025 .35"/>'
        for x in (-0.17, 0.83)
        for y in (-0.55, 0.55)
    )
    return f"""<mujoco model="fr3_lift">
<compiler angle="radian"/>
<option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"
        iterations="20" ls_iterations="20"/>
<visual>
  <global offwidth="1280" offheight="960"/>
  <quality offsamples="0" shadowsize="0" numslices="20" numstacks="10"/>
  <headlight ambient=".34 .34 .36" diffuse=".22 .22 .22" specular=".05 .05 .05"/>
  <map znear=".01" zfar="20"/>
</visual>
<default>
  <default class="skin"><geom type="mesh" contype="0" conaffinity="0" group="1" mass="0"/></default>
  <default class="solid"><geom group="3" mass="0"/></default>
</default>
{_assets()}
<worldbody>
  <light directional="true" pos="1 -1 2.5" dir="-.45 .5 -1" castshadow="false"
         diffuse=".52 .51 .49" specular=".25 .25 .25"/>
  <light directional="true" pos="0 2 2" dir=".2 -.8 -.5" castshadow="false"
         diffuse=".16 .17 .20" specular="0 0 0"/>
  <geom class="skin" name="floor" type="plane" size="6 6 1" pos="0 0 -.74" material="floor"/>
  <geom class="skin" name="table" mesh="table" material="table" pos=".33 0 -.02"/>
  <geom class="solid" type="box" size=".55 .62 .02" pos=".33 0 -.02" friction=".9 .01 .0005"/>
  <geom class="skin" type="box" material="mat" size=".20 .28 .0002" pos=".49 0 .0002"/>
  {legs}
  <camera name="front" pos="1.30 0 .56" xyaxes="0 1 0 -.447 0 .894" fovy="41"/>
  {_further(cameras)}
  {_arm()}
  <body name="cube" pos=".5 0 {CUBE_HALF_M}">
    <freejoint name="cube"/>
    <inertial pos="0 0 0" mass="{CUBE_MASS_KG}" diaginertia="1.6e-5 1.6e-5 1.6e-5"/>
    <geom class="skin" mesh="cube" material="cube"/>
    <geom class="solid" type="box" size="{CUBE_HALF_M} {CUBE_HALF_M} {CUBE_HALF_M}"
          friction="1.2 .02 .0005" solref=".006 1" condim="4"/>
  </body>
  {_shade("cube_shade", (0.032, 0.027), (0.032, 0.027))}
  {_shade("hand_shade", (0.075, 0.060, 0.045), (0.032, 0.024, 0.016))}
</worldbody>
{_actuators()}
</mujoco>"""
